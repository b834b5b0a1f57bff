/* Files over HTTP under a command: not there yet. */
#include "rpc/xe/engine_internal.h"

static bool refuse(struct xe *x)
{
	struct xn_error err = {0};

	xn_error_set(&err, XN_ERR_NOT_IMPLEMENTED, xe_command_name(x));
	xe_fail_api(x, &err);
	return false;
}

bool xe_get(struct xe *x, const char *filename, const char *path, const char *label,
	    const char **result)
{
	return refuse(x);
}

bool xe_put(struct xe *x, const char *filename, const char *path, const char *label,
	    const char **result)
{
	return refuse(x);
}

bool xe_connect(struct xe *x, const char *url)
{
	return refuse(x);
}

void xe_transfer_answered(struct xe *x, struct xe_effect *effect)
{
	xe_effect_done(x, effect);
}

void xe_transfer_interrupt(struct xe *x, struct xe_effect *effect)
{
}
