/* XenAPI errors; see error.h. */
#include "core/error.h"

#include "core/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void xn_error_clear(struct xn_error *err)
{
	for (unsigned i = 0; i < err->n_params; i++)
		free(err->params[i]);
	free(err->own_code);
	*err = (struct xn_error){0};
}

void xn_error_add_param(struct xn_error *err, const char *param)
{
	if (err->n_params < XN_ERROR_MAX_PARAMS)
		err->params[err->n_params++] = xn_strdup(param);
}

int xn_error_set_(struct xn_error *err, const char *code, ...)
{
	struct xn_error fresh = {.code = code}; /* parameters may point into the old *err */
	const char *param;
	va_list ap;

	if (!err)
		return -1;
	va_start(ap, code);
	while ((param = va_arg(ap, const char *)))
		xn_error_add_param(&fresh, param);
	va_end(ap);
	xn_error_clear(err);
	*err = fresh;
	return -1;
}

int xn_error_setf(struct xn_error *err, const char *code, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int rc;

	if (!err)
		return -1;
	va_start(ap, fmt);
	text = xn_vasprintf(fmt, ap);
	va_end(ap);
	rc = xn_error_set(err, code, text);
	free(text);
	return rc;
}

int xn_error_from_errno(struct xn_error *err, int neg_errno, const char *doing)
{
	return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "%s: %s", doing, strerror(-neg_errno));
}

int xn_error_not_stored(struct xn_error *err, int neg_errno)
{
	return xn_error_from_errno(err, neg_errno, "the database could not store the change");
}

void xn_error_move(struct xn_error *to, struct xn_error *from)
{
	xn_error_clear(to);
	*to = *from;
	*from = (struct xn_error){0};
}

void xn_error_copy(struct xn_error *to, const struct xn_error *from)
{
	struct xn_error copy = {.code = from->code};

	if (from->own_code)
		copy.code = copy.own_code = xn_strdup(from->own_code);
	for (unsigned i = 0; i < from->n_params; i++)
		xn_error_add_param(&copy, from->params[i]);
	xn_error_clear(to);
	*to = copy;
}

char *xn_error_sentence(const struct xn_error *err)
{
	struct xn_buf text = {0};

	xn_buf_add_string(&text, err->code);
	for (unsigned i = 0; i < err->n_params; i++)
		xn_buf_printf(&text, "%s %s", i ? "," : ":", err->params[i]);
	return xn_buf_steal(&text);
}
