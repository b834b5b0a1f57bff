/*
 * Random changes that depend on nothing but a seed and the turn's number, so that the state after
 * turn k can be made again elsewhere and compared. The number is kept in a row: a state tells which
 * it is.
 */
#ifndef XN_TEST_DB_WORKLOAD_H
#define XN_TEST_DB_WORKLOAD_H

#include "tests/unit/db_fixture.h"

struct dice {
	uint64_t state;
};

static inline uint64_t roll(struct dice *dice, uint64_t sides)
{
	uint64_t x = dice->state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return (x ^ x >> 31) % sides;
}

static inline void random_uuid(struct dice *dice, char out[37])
{
	snprintf(out, 37, "%08x-%04x-4%03x-8%03x-%012llx", (unsigned)roll(dice, 1ull << 32),
		 (unsigned)roll(dice, 1 << 16), (unsigned)roll(dice, 1 << 12),
		 (unsigned)roll(dice, 1 << 12), (unsigned long long)roll(dice, 1ull << 48));
}

static const int workload_classes[] = {XN_CLASS_VM,  XN_CLASS_VBD,	XN_CLASS_VIF,
				       XN_CLASS_VDI, XN_CLASS_VM_group, XN_CLASS_task};

/* Any row, but not by its place: rows of one stamp lie in another order after a restart. */
static inline struct xn_row *pick(struct xn_db *db, struct dice *dice, int class_id)
{
	struct xn_row *row = xn_db_first(db, class_id), *best = NULL;
	uint64_t salt = roll(dice, UINT64_MAX), least = UINT64_MAX;

	for (; row; row = xn_db_next(db, row)) {
		struct dice mark = {salt};
		uint64_t rank;

		for (const char *c = xn_row_ref(row); *c; c++)
			mark.state = (mark.state ^ (unsigned char)*c) * 0x100000001b3u;
		rank = roll(&mark, UINT64_MAX);
		if (rank < least) {
			least = rank;
			best = row;
		}
	}
	return best;
}

static inline void put_ref(struct xn_value **fields, const char *name, const struct xn_row *row)
{
	if (row)
		xn_map_put_string(fields, name, xn_row_ref(row));
}

static inline void change_create(struct xn_db *db, struct dice *dice)
{
	int class_id = workload_classes[roll(dice, XN_ARRAY_SIZE(workload_classes))];
	struct xn_value *fields = xn_map_new();
	char uuid[37], ref[48];

	random_uuid(dice, uuid);
	snprintf(ref, sizeof(ref), "OpaqueRef:%s", uuid);
	random_uuid(dice, uuid);
	xn_map_put_string(&fields, "uuid", uuid);
	if (class_id == XN_CLASS_VBD) {
		put_ref(&fields, "VM", pick(db, dice, XN_CLASS_VM));
		put_ref(&fields, "VDI", pick(db, dice, XN_CLASS_VDI));
	} else if (class_id == XN_CLASS_VIF) {
		put_ref(&fields, "VM", pick(db, dice, XN_CLASS_VM));
	} else if (class_id == XN_CLASS_task) {
		put_ref(&fields, "subtask_of", pick(db, dice, XN_CLASS_task));
	} else {
		xn_map_put(&fields, "name_label", xn_stringf("row %u", (unsigned)roll(dice, 50)));
	}
	xn_db_create(db, class_id, ref, fields);
	xn_value_unref(fields);
}

static inline void change_vm(struct xn_db *db, struct dice *dice, struct xn_row *vm)
{
	struct xn_row *group = pick(db, dice, XN_CLASS_VM_group);
	char text[32];

	snprintf(text, sizeof(text), "value %u", (unsigned)roll(dice, 10));
	switch (roll(dice, 6)) {
	case 0:
		xn_db_set_string(db, vm, XN_VM_name_label, text);
		break;
	case 1:
		xn_db_map_put(db, vm, XN_VM_other_config, roll(dice, 2) ? "a" : "b", text);
		break;
	case 2:
		xn_db_map_remove(db, vm, XN_VM_other_config, "a");
		break;
	case 3:
		xn_db_set_int(db, vm, XN_VM_memory_target, (int64_t)roll(dice, 1u << 30));
		break;
	case 4:
		if (group && roll(dice, 2))
			xn_db_set_add(db, vm, XN_VM_groups, xn_row_ref(group));
		else if (group)
			xn_db_set_remove(db, group, XN_VM_group_VMs, xn_row_ref(vm));
		break;
	case 5:
		xn_db_touch(db, vm);
		break;
	}
}

static inline void change_one(struct xn_db *db, struct dice *dice)
{
	int class_id = workload_classes[roll(dice, XN_ARRAY_SIZE(workload_classes))];
	struct xn_row *row = pick(db, dice, class_id), *vm = pick(db, dice, XN_CLASS_VM);
	bool crowded = row && xn_db_count(db, class_id) > 12;

	if (!row || (!crowded && roll(dice, 3) == 0))
		change_create(db, dice);
	else if (roll(dice, crowded ? 3 : 8) == 0)
		xn_db_delete(db, row);
	else if (class_id == XN_CLASS_VBD && vm)
		xn_db_set_string(db, row, XN_VBD_VM, roll(dice, 4) ? xn_row_ref(vm) : XN_NULL_REF);
	else if (class_id == XN_CLASS_VM)
		change_vm(db, dice, row);
}

#define WORKLOAD_POOL "OpaqueRef:c97c0d0e-0000-4000-8000-00000000ffff"

/* The changes of turn @k; the caller ends the turn. */
static inline void workload_turn(struct xn_db *db, uint64_t seed, unsigned k)
{
	struct dice dice = {seed * 1000003 + k};
	struct xn_row *pool = xn_db_get(db, XN_CLASS_pool, WORKLOAD_POOL);
	char number[16];

	if (!pool) {
		struct xn_value *fields = xn_map_new();

		xn_map_put_string(&fields, "uuid", "c97c0d0e-0000-4000-8000-00000000fffe");
		pool = xn_db_create(db, XN_CLASS_pool, WORKLOAD_POOL, fields);
		xn_value_unref(fields);
	}
	snprintf(number, sizeof(number), "%u", k);
	xn_db_map_put(db, pool, XN_pool_other_config, "turn", number);
	for (uint64_t n = roll(&dice, 6); n; n--)
		change_one(db, &dice);
}

/* The number of the last turn that the state holds; 0: none. */
static inline unsigned workload_at(struct xn_db *db)
{
	struct xn_row *pool = xn_db_get(db, XN_CLASS_pool, WORKLOAD_POOL);

	return pool ? (unsigned)atoi(xn_row_map_string(pool, XN_pool_other_config, "turn")) : 0;
}

#endif
