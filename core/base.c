/* Allocation that aborts when memory is gone; see base.h. */
#include "core/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void *checked(void *p)
{
	if (!p)
		abort();
	return p;
}

void *xn_malloc(size_t size)
{
	return checked(malloc(size ? size : 1));
}

void *xn_calloc(size_t n, size_t size)
{
	return checked(calloc(n ? n : 1, size ? size : 1));
}

void *xn_realloc(void *old, size_t size)
{
	return checked(realloc(old, size ? size : 1));
}

char *xn_strdup(const char *s)
{
	return checked(strdup(s));
}

char *xn_strndup(const char *s, size_t len)
{
	return checked(strndup(s, len));
}

char *xn_vasprintf(const char *fmt, va_list ap)
{
	char *s = NULL;

	if (vasprintf(&s, fmt, ap) < 0)
		abort();
	return s;
}

char *xn_asprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = xn_vasprintf(fmt, ap);
	va_end(ap);
	return s;
}

void xn_free_p(void *pointer_to_pointer)
{
	void *p;

	memcpy(&p, pointer_to_pointer, sizeof(p));
	free(p);
}

bool xn_is_one_of(const char *text, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(text, *list) == 0)
			return true;
	return false;
}
