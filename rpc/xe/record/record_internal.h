/* Inside of rpc/xe/record: how the tables are laid out, and what its files share. */
#ifndef XE_RECORD_INTERNAL_H
#define XE_RECORD_INTERNAL_H

#include "rpc/xe/record/record.h"

enum { XE_PATH_END = 255, XE_PATH_HOSTS = 254 };

struct xe_field {
	uint16_t name;   /* in xe_strings */
	uint16_t flags;  /* enum xe_field_flags */
	uint8_t path[3]; /* fields from reference to reference; [0] of XE_F_CALL: of xe_calls */
	uint8_t printer; /* enum xe_printer */
};

struct xe_kind {
	struct xe_columns columns; /* shown by default */
	uint16_t prefix;           /* in xe_strings */
	uint16_t first;            /* in xe_fields */
	uint16_t class_id;
	uint16_t n;
	struct {
		uint16_t field; /* 255: none */
		uint16_t value; /* in xe_strings */
	} only[2];
};

/* A call that tells a field's value. */
struct xe_call_row {
	uint16_t method; /* in xe_strings */
	bool has_self;
};

/* The generated tables, in record.c. */
const char *xe_string(uint16_t offset);
const struct xe_field *xe_field_row(const struct xe_kind *kind, unsigned field);
const struct xe_call_row *xe_call_of(const struct xe_field *field);
/* The text of an enum's value where that is not the API's own; NULL: it is. */
const char *xe_enum_text(const struct xe_field *field, const struct xn_type *type,
			 const char *value);

/* What the leaves of a field's value are handed to: members of sets, values of maps, or the one
 * value.
 * @key: of maps, else NULL. @value: NULL where a reference on the way there names nothing. */
typedef bool xe_leaf(void *arg, const char *key, const struct xn_type *type,
		     const struct xn_value *value); /* false: enough */

/* One field of one record. */
struct xe_look {
	struct xn_db *db;
	const struct xe_kind *kind;
	const struct xe_field *field;
	const struct xe_item *item;
};

const struct xn_value *xe_item_get(const struct xe_item *item, int class_id, int field);
/* False: @leaf had enough. */
bool xe_look_leaves(const struct xe_look *look, xe_leaf *leaf, void *arg);
void xe_look_print(const struct xe_look *look, struct xn_buf *out);
/* The record that a uuid means; an effect. */
bool xe_item_by_uuid(struct xe *x, const struct xe_kind *kind, const char *uuid,
		     struct xe_item *out);
void xe_item_clear(struct xe_item *item);
static inline void xe_item_clear_p(struct xe_item *item)
{
	xe_item_clear(item);
}
/* Which field was probably meant, for people. */
void xe_hint_field(struct xe *x, const struct xe_kind *kind, const char *name);
/* What calls tell about the fields of @columns; effects. @told: room for XE_TOLD_MAX. */
bool xe_item_tell(struct xe *x, const struct xe_kind *kind, const struct xe_columns *columns,
		  struct xe_item *item, struct xe_told *told);
/* A leaf as it is printed. */
void xe_leaf_print(const struct xe_look *look, const struct xn_type *type,
		   const struct xn_value *value, struct xn_buf *out);

#endif
