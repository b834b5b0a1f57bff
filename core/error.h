/*
 * An error that an API client can see: a XenAPI code and its parameters. Plumbing uses -errno;
 * see the README for when to use which. Codes come from the schema: XN_ERR_<CODE>.
 */
#ifndef XN_ERROR_H
#define XN_ERROR_H

#include "core/base.h"
#include "core/schema/errors.h" /* generated: XN_ERR_VM_BAD_POWER_STATE ... */

#define XN_ERROR_MAX_PARAMS 8

struct xn_error {
	const char *code;		   /* static string or interned; NULL: no error */
	char *params[XN_ERROR_MAX_PARAMS]; /* owned */
	unsigned n_params;
	char *own_code; /* set when the code came from data (a stored task); owned */
};

/*
 * xn_error_set - fill @err and return -1, so that refusing is one line
 * The arguments after @code are `const char *` parameters. Whatever @err held is cleared. @err may be
 * NULL where only the refusal matters (the same for xn_error_setf).
 */
#define xn_error_set(err, ...) \
	xn_error_set_((err), __VA_ARGS__, (const char *)NULL)
int xn_error_set_(struct xn_error *err, const char *code, ...);

/* One printf-formatted parameter, for INTERNAL_ERROR and alike. Returns -1. */
int xn_error_setf(struct xn_error *err, const char *code, const char *fmt, ...)
	XN_PRINTF(3, 4);

/* The XenAPI meaning of an -errno where nothing better is known: INTERNAL_ERROR. Returns -1. */
int xn_error_from_errno(struct xn_error *err, int neg_errno, const char *doing);
/* Of a change that was made and that the store did not take. Returns -1. */
int xn_error_not_stored(struct xn_error *err, int neg_errno);

void xn_error_clear(struct xn_error *err);
/* @to gets what @from holds; @from is empty afterwards. */
void xn_error_move(struct xn_error *to, struct xn_error *from);
void xn_error_copy(struct xn_error *to, const struct xn_error *from);
char *xn_error_sentence(const struct xn_error *err); /* "CODE: a, b"; the caller frees */
void xn_error_add_param(struct xn_error *err, const char *param);

static inline bool xn_error_is_set(const struct xn_error *err)
{
	return err->code != NULL;
}

static inline void xn_error_clear_p(struct xn_error *err)
{
	xn_error_clear(err);
}

#endif
