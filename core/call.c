/* API calls on their way to a handler, and the registry of handlers; see call.h. */
#include "core/call.h"

#include <stdlib.h>

static void release(struct xn_call *call)
{
	for (unsigned i = 0; i < call->n_args; i++)
		xn_value_unref(call->args[i]);
	call->n_args = 0;
	if (call->sink->released)
		call->sink->released(call);
}

void xn_call_reply(struct xn_call *call, struct xn_value *result)
{
	call->sink->finish(call, result, NULL);
	xn_value_unref(result);
	release(call);
}

void xn_call_reply_void(struct xn_call *call)
{
	xn_call_reply(call, xn_nil());
}

void xn_call_fail(struct xn_call *call, struct xn_error *err)
{
	struct xn_error own = {0};

	xn_error_move(&own, err); /* @err may hang off something that the sink frees */
	call->sink->finish(call, NULL, &own);
	xn_error_clear(&own);
	release(call);
}

void xn_call_abandon(struct xn_call *call)
{
	release(call);
}

/* ---- the registry: one slot a schema method, filled by name or by kind ---- */

struct handler {
	struct xn_method_impl impl;
	void *state;
	bool by_kind;
};

struct xn_methods {
	struct handler *handlers; /* index: position in xn_methods[] */
};

struct xn_methods *xn_methods_new(void)
{
	struct xn_methods *methods = xn_calloc(1, sizeof(*methods));

	methods->handlers = xn_calloc(xn_n_methods, sizeof(*methods->handlers));
	return methods;
}

void xn_methods_free(struct xn_methods *methods)
{
	if (!methods)
		return;
	free(methods->handlers);
	free(methods);
}

int xn_methods_add(struct xn_methods *methods, const struct xn_method_impl *impl, void *state,
		   struct xn_error *err)
{
	const struct xn_method *method = xn_method_find(impl->name);
	struct handler *slot;

	if (!method)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "%s is not in the schema",
				     impl->name);
	slot = &methods->handlers[method - xn_methods];
	if (slot->impl.run && !slot->by_kind)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "%s has two handlers",
				     impl->name);
	*slot = (struct handler){.impl = *impl, .state = state};
	return 0;
}

int xn_methods_add_kind(struct xn_methods *methods, enum xn_method_kind kind,
			void (*run)(struct xn_call *call),
			int (*check)(struct xn_call *call, struct xn_error *err), void *state,
			struct xn_error *err)
{
	if (kind == XN_M_EXPLICIT)
		return xn_error_set(err, XN_ERR_INTERNAL_ERROR,
				    "explicit messages are registered by name");
	for (unsigned i = 0; i < xn_n_methods; i++) {
		struct handler *slot = &methods->handlers[i];

		if (xn_methods[i].kind != kind || slot->impl.run)
			continue;
		*slot = (struct handler){
			.impl = {.name = xn_methods[i].name, .run = run, .check = check},
			.state = state,
			.by_kind = true,
		};
	}
	return 0;
}

const struct xn_method_impl *xn_methods_find(const struct xn_methods *methods,
					     const struct xn_method *method, void **state_out)
{
	const struct handler *slot = &methods->handlers[method - xn_methods];

	if (!slot->impl.run)
		return NULL;
	*state_out = slot->state;
	return &slot->impl;
}
