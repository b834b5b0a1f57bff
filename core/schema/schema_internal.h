/* What the generated tables hand to schema.c besides the public ones of schema.h. */
#ifndef XN_SCHEMA_INTERNAL_H
#define XN_SCHEMA_INTERNAL_H

#include "core/schema/schema.h"

/*
 * Open addressing over FNV-1a: a slot holds a row's number + 1, 0 is free; the next slot is tried
 * on a clash. Sizes are powers of two, well above the number of rows.
 */
#define XN_METHOD_SLOTS 8192
#define XN_FIELD_SLOTS 4096
extern const uint16_t xn_method_slots[XN_METHOD_SLOTS]; /* into xn_methods */
extern const uint16_t xn_field_slots[XN_FIELD_SLOTS];   /* into xn_field_names */

/* Wire and database names; where both are the same, once. */
struct xn_field_name {
	const char *name;
	int class_id;
	int field;
};
extern const struct xn_field_name xn_field_names[];

/* Every method's parameters lie in one array, so that a parameter has a number. */
extern const struct xn_param xn_all_params[];
extern const unsigned xn_n_all_params;

/* Fields of classes before this one; numbers all fields. The last entry is their count. */
extern const unsigned xn_field_offsets[XN_CLASS_COUNT + 1];

#endif
