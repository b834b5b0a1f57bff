/*
 * Things every file uses: allocation that cannot fail, cleanup attributes, container_of.
 * The bottom of the include graph: includes nothing of the project.
 */
#ifndef XN_BASE_H
#define XN_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define XN_MUST_CHECK	  __attribute__((warn_unused_result))
#define XN_PRINTF(f, a)	  __attribute__((format(printf, f, a)))
#define XN_NORETURN	  __attribute__((noreturn))
#define XN_CLEANUP(fn)	  __attribute__((cleanup(fn)))
#define XN_ARRAY_SIZE(a)  (sizeof(a) / sizeof((a)[0]))
#define XN_UNUSED	  __attribute__((unused))

/* The `_p` form of a destructor, for XN_CLEANUP; written beside the destructor. */
#define XN_DEFINE_CLEANUP(type, fn)                          \
	static inline XN_UNUSED void fn##_p(type *thing)     \
	{                                                    \
		fn(*thing);                                  \
	}

#define xn_container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

/*
 * Small allocations: abort when memory is gone (the daemon restarts, a tested path).
 * What comes from outside is bounded by its reader before it is allocated.
 */
void *xn_malloc(size_t size);
void *xn_calloc(size_t n, size_t size);
void *xn_realloc(void *old, size_t size);
char *xn_strdup(const char *s);
char *xn_strndup(const char *s, size_t len);
char *xn_asprintf(const char *fmt, ...) XN_PRINTF(1, 2);
char *xn_vasprintf(const char *fmt, va_list ap) XN_PRINTF(1, 0);

bool xn_is_one_of(const char *text, const char *const *list); /* a NULL ends the list */

/* free() for XN_CLEANUP: char *s XN_CLEANUP(xn_free_p). */
void xn_free_p(void *pointer_to_pointer);

#endif
