/*
 * The rules' side of operations: which are allowed on a row, written into allowed_operations, and
 * the words of a refusal. A class's sets are few, so all rows with the same one share its value.
 */
#include <stdlib.h>

#include "modules/operation/operation_internal.h"

struct shared_set {
	struct xn_hnode node;
	uint64_t mask;
	struct xn_value *value;
};

const struct xn_operation_rules *xn_rules_of(const struct xn_operations *ops, int class_id)
{
	return ops->rules[class_id] ? ops->rules[class_id]->rules : NULL;
}

void xn_operation_register_rules(struct xn_operations *ops, const struct xn_operation_rules *rules)
{
	struct xn_rules_state *state = xn_calloc(1, sizeof(*state));

	state->rules = rules;
	while (rules->advertised[state->n_advertised]) {
		if (state->n_advertised == XN_OPERATION_MAX_ADVERTISED)
			abort(); /* a table in our own code */
		state->names[state->n_advertised] =
			xn_string(rules->advertised[state->n_advertised]);
		state->n_advertised++;
	}
	if (ops->rules[rules->class_id])
		abort(); /* registered twice */
	ops->rules[rules->class_id] = state;
}

void xn_rules_free(struct xn_rules_state *state)
{
	struct xn_hnode *node, *next;

	if (!state)
		return;
	for (node = xn_hmap_first(&state->sets); node; node = next) {
		struct shared_set *set = xn_container_of(node, struct shared_set, node);

		next = xn_hmap_next(&state->sets, node);
		xn_value_unref(set->value);
		free(set);
	}
	xn_hmap_clear(&state->sets);
	for (unsigned i = 0; i < state->n_advertised; i++)
		xn_value_unref(state->names[i]);
	free(state);
}

static struct xn_value *set_for(struct xn_rules_state *state, uint64_t mask)
{
	uint64_t hash = xn_hash_bytes(&mask, sizeof(mask));
	struct xn_hnode *node = xn_hmap_first_same(&state->sets, hash);
	struct shared_set *set;

	for (; node; node = xn_hmap_next_same(node)) {
		set = xn_container_of(node, struct shared_set, node);
		if (set->mask == mask)
			return xn_value_ref(set->value);
	}
	set = xn_calloc(1, sizeof(*set));
	set->mask = mask;
	set->value = xn_set_new();
	for (unsigned i = 0; i < state->n_advertised; i++)
		if (mask & (uint64_t)1 << i)
			xn_set_append(&set->value, xn_value_ref(state->names[i]));
	xn_hmap_insert(&state->sets, &set->node, hash);
	return xn_value_ref(set->value);
}

static uint64_t allowed_mask(struct xn_operations *ops, const struct xn_rules_state *state,
			     struct xn_row *row)
{
	const struct xn_operation_rules *rules = state->rules;
	uint64_t mask = 0;

	if (rules->allowed)
		return rules->allowed(ops->db, row);
	for (unsigned i = 0; i < state->n_advertised; i++)
		if (rules->refuse(ops->db, row, rules->advertised[i], NULL, NULL) == 0)
			mask |= (uint64_t)1 << i;
	return mask;
}

void xn_operation_refresh(struct xn_operations *ops, struct xn_row *row)
{
	struct xn_rules_state *state = ops->rules[xn_row_class(row)];

	if (state)
		xn_db_set(ops->db, row, state->rules->allowed_field,
			  set_for(state, allowed_mask(ops, state, row)));
}

static void refresh_dependent(struct xn_row *row, void *arg)
{
	xn_operation_refresh(arg, row);
}

void xn_operation_refresh_all(struct xn_operations *ops, struct xn_row *row)
{
	const struct xn_operation_rules *rules = xn_rules_of(ops, xn_row_class(row));

	xn_operation_refresh(ops, row);
	if (rules && rules->dependents)
		rules->dependents(ops->db, row, refresh_dependent, ops);
}

int xn_operation_check(struct xn_operations *ops, int class_id, const char *ref,
		       const char *operation, struct xn_error *err)
{
	const struct xn_operation_rules *rules = xn_rules_of(ops, class_id);
	struct xn_row *row = xn_db_need(ops->db, class_id, ref, err);

	if (!row)
		return -1;
	return rules ? rules->refuse(ops->db, row, operation, NULL, err) : 0;
}

int xn_operation_busy(struct xn_error *err, const char *class_name, const char *ref,
		      const struct xn_value *current, const char *self, const char *comma)
{
	struct xn_buf names XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf tasks XN_CLEANUP(xn_buf_clear_p) = {0};
	bool several = xn_map_len(current) - (self && xn_map_get(current, self)) > 1;

	if (!err)
		return -1;
	for (size_t i = 0; i < xn_map_len(current); i++) {
		const char *task = xn_map_key_at(current, i);

		if (self && strcmp(task, self) == 0)
			continue;
		if (several) {
			xn_buf_add_string(&names, names.len ? comma : "{");
			xn_buf_add_string(&tasks, tasks.len ? comma : "{");
		}
		xn_buf_add_string(&names, xn_value_string(xn_map_at(current, i)));
		xn_buf_add_string(&tasks, task);
	}
	if (several) {
		xn_buf_add_char(&names, '}');
		xn_buf_add_char(&tasks, '}');
	}
	return xn_error_set(err, XN_ERR_OTHER_OPERATION_IN_PROGRESS, class_name, ref,
			    xn_buf_cstr(&names), xn_buf_cstr(&tasks));
}

bool xn_pool_is_upgrading(struct xn_db *db)
{
	const struct xn_row *pool = xn_db_first(db, XN_CLASS_pool);
	const char *yes =
		pool ? xn_row_map_string(pool, XN_pool_other_config, "rolling_upgrade_in_progress")
		     : NULL;

	return yes && strcmp(yes, "true") == 0;
}
