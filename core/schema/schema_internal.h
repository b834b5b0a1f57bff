/*
 * The schema between gen.py and its readers. What gen.py writes is packed: numbers of 8 and 16 bits
 * in place of pointers, each text once, and no text that follows from others. A quarter of the
 * program would be pointers otherwise. expand.c makes the tables of schema.h from it when the program
 * is loaded, as the loader would have done with the pointers.
 */
#ifndef XN_SCHEMA_INTERNAL_H
#define XN_SCHEMA_INTERNAL_H

#include "core/schema/schema.h"

/* "none" where a number is a place in a table. */
#define XN_PACKED_NONE 0xffff

/* Texts are places in xn_packed_names, docs in xn_packed_docs. */
struct xn_packed_type {
	uint8_t kind, enumeration; /* into xn_enums */
	int16_t class_id;
	uint16_t key, value; /* types before this one, or none */
	uint16_t text;
};

struct xn_packed_field {
	uint16_t name, db_name, type, default_json;
	int16_t other_class, other_field;
	uint8_t qualifier : 2, lifecycle : 2, internal : 1, persistent : 1, required : 1;
	uint8_t relation;
	uint8_t role_read, role_write, key_roles; /* into xn_packed_key_roles */
	uint16_t doc;
};

struct xn_packed_param {
	uint16_t name, type, default_json; /* default: or none */
};

struct xn_packed_method {
	uint8_t class_id, kind;
	int16_t field;
	uint16_t message; /* where a kind is about a field: what stands before its name */
	uint16_t params, result, flags;
	uint8_t n_params, n_required;
	uint8_t min_role, key_roles;
	int8_t forward_param, lock_param;
	uint16_t operation; /* or none */
	uint16_t errors;    /* into xn_packed_errors */
	uint16_t doc;	    /* none: what xn_packed_kind_docs says */
};

extern const char xn_packed_names[], xn_packed_docs[];
extern const struct xn_packed_type xn_packed_types[];
extern const struct xn_packed_field xn_packed_fields[];
extern const struct xn_packed_param xn_packed_params[];
extern const struct xn_packed_method xn_packed_methods[];
extern const struct xn_key_role *const xn_packed_key_roles[]; /* the first is NULL */
extern const char *const *const xn_packed_errors[];

/* The line of an automatic method of a kind: these stand for its class, its field, the field's line. */
enum { XN_DOC_CLASS = 1, XN_DOC_FIELD, XN_DOC_FIELD_DOC };
extern const char *const xn_packed_kind_docs[];

/* Fields of classes before this one; numbers all fields. The last entry is their count. */
extern const unsigned xn_field_offsets[XN_CLASS_COUNT + 1];

/*
 * Open addressing over FNV-1a: a slot holds a row's number + 1, 0 is free; the next slot is tried
 * on a clash. Sizes are powers of two, well above the number of rows.
 */
#define XN_METHOD_SLOTS 8192
#define XN_FIELD_SLOTS 4096

/* What expand.c makes; read only from then on. */
struct xn_expanded {
	struct xn_type types[XN_SCHEMA_TYPES];
	struct xn_field fields[XN_SCHEMA_FIELDS];
	struct xn_param params[XN_SCHEMA_PARAMS]; /* all methods', so that a parameter has a number */
	struct xn_method methods[XN_SCHEMA_METHODS];
	uint16_t method_slots[XN_METHOD_SLOTS];
	uint16_t field_slots[XN_FIELD_SLOTS]; /* twice a field whose database name is another */
	uint8_t field_classes[XN_SCHEMA_FIELDS];
	char texts[XN_SCHEMA_TEXT_BYTES]; /* methods' names, docs of automatic methods */
} __attribute__((aligned(4096)));
extern struct xn_expanded xn_expanded;

uint32_t xn_schema_hash(uint32_t seed, const char *name);
#define XN_METHOD_SEED 2166136261u /* a field's seed is its class */

#endif
