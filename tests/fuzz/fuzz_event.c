/*
 * What a client sends to event.from: the first line is the token, each further one a wish. What is
 * printed is parsed back to the same token; equal wishes in any order are one subscription, which
 * wants an object exactly if one of the wishes names it.
 */
#include <assert.h>
#include <stdlib.h>

#include "modules/event/event_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_token(const char *token)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	uint64_t stamp, again;

	if (event_token_parse(token, &stamp) < 0)
		return;
	assert(stamp <= INT64_MAX);
	event_token_print(stamp, &text);
	assert(text.len == 41);
	assert(event_token_parse(xn_buf_cstr(&text), &again) == 0 && again == stamp);
}

static struct xn_value *reversed(const struct xn_value *wishes)
{
	struct xn_value *out = xn_set_new();

	for (size_t i = xn_set_len(wishes); i-- > 0;)
		xn_set_append(&out, xn_value_ref(xn_set_at(wishes, i)));
	return out;
}

static void check_wanted(const struct subscription *sub, const char *wish)
{
	const char *slash = strchr(wish, '/');
	const struct xn_class *cls;
	char name[64];

	if (strcmp(wish, "*") == 0)
		assert(subscription_wants(sub, XN_CLASS_pool, "OpaqueRef:any"));
	if (!slash || slash == wish || (size_t)(slash - wish) >= sizeof(name))
		return;
	memcpy(name, wish, (size_t)(slash - wish));
	name[slash - wish] = '\0';
	cls = xn_class_find_event(name);
	if (cls && strlen(slash + 1) < XN_REF_LEN)
		assert(subscription_wants(sub, cls->id, slash + 1) == cls->has_events);
}

static void check_wishes(const struct xn_value *wishes)
{
	struct xn_value *backwards XN_CLEANUP(xn_value_unref_p) = reversed(wishes);
	struct subscriptions all;
	struct subscription *a, *b;

	subscriptions_init(&all);
	a = subscription_get(&all, wishes);
	b = subscription_get(&all, backwards);
	assert(a == b);
	for (size_t i = 0; i < xn_set_len(wishes); i++)
		check_wanted(a, xn_value_string(xn_set_at(wishes, i)));
	subscription_index(&all, a);
	subscription_unref(&all, b);
	subscription_unref(&all, a);
	assert(all.all.count == 0 && all.n_watched == 0);
	subscriptions_clear(&all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xn_value *wishes XN_CLEANUP(xn_value_unref_p) = xn_set_new();
	char *text = xn_strndup((const char *)data, size);
	char *rest = text, *token = strsep(&rest, "\n"), *wish;

	check_token(token);
	while ((wish = strsep(&rest, "\n")))
		xn_set_append_string(&wishes, wish);
	check_wishes(wishes);
	free(text);
	return 0;
}
