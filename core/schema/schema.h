/*
 * The published data model as constant tables: classes, fields, methods, enums, types, roles.
 * Told once in the text files beside this header; gen.py turns them into schema_tables.c and the
 * generated headers (ids.h: class and field numbers; errors.h: error codes), expand.c the packed
 * tables of the first into these. Everything that depends on a name or a type (dispatch, records,
 * codecs, rows, xe, documents) reads these tables.
 */
#ifndef XN_SCHEMA_H
#define XN_SCHEMA_H

#include "core/error.h"
#include "core/schema/ids.h" /* generated: XN_CLASS_VM ..., XN_VM_power_state ... */
#include "core/value.h"

enum xn_type_kind {
	XN_T_VOID,
	XN_T_STRING,
	XN_T_INT,
	XN_T_FLOAT,
	XN_T_BOOL,
	XN_T_DATETIME,
	XN_T_ENUM,
	XN_T_REF,
	XN_T_RECORD,
	XN_T_SET,    /* of .value */
	XN_T_MAP,    /* .key -> .value */
	XN_T_OPTION, /* of .value; left out of its record when there is none */
};

struct xn_enum {
	const char *name;
	const char *const *values; /* n_values names, in model order; the first is the default */
	unsigned n_values;
};

struct xn_type {
	enum xn_type_kind kind;
	const struct xn_enum *enumeration; /* XN_T_ENUM */
	int class_id;			   /* XN_T_REF, XN_T_RECORD */
	const struct xn_type *key, *value; /* XN_T_MAP; value: also SET, OPTION */
	const char *text;		   /* "(string -> VBD ref) map", as the documents print it */
};

/* In falling order of power, so "at least" is <=. */
enum xn_role {
	XN_ROLE_LOCAL_ROOT, /* only the local superuser and pool-internal sessions */
	XN_ROLE_POOL_ADMIN,
	XN_ROLE_POOL_OPERATOR,
	XN_ROLE_VM_POWER_ADMIN,
	XN_ROLE_VM_ADMIN,
	XN_ROLE_VM_OPERATOR,
	XN_ROLE_CLIENT_CERT,
	XN_ROLE_READ_ONLY,
	XN_ROLE_COUNT,
};
extern const char *const xn_role_names[XN_ROLE_COUNT]; /* "pool-admin" ... */

/* A key of a map field that needs another role than the field. `*` at the end: prefix. */
struct xn_key_role {
	const char *key;
	enum xn_role role;
};

enum xn_qualifier { XN_FIELD_RW, XN_FIELD_RO_CONSTRUCTOR, XN_FIELD_RO_RUNTIME };
enum xn_relation {
	XN_REL_NONE,
	XN_REL_MANY_TO_ONE,  /* the stored end: a reference */
	XN_REL_ONE_TO_MANY,  /* derived end: a set of references, kept by the database */
	XN_REL_MANY_TO_MANY, /* both ends sets, both kept in step */
};
enum xn_lifecycle { XN_PUBLISHED, XN_DEPRECATED, XN_REMOVED, XN_PROTOTYPE };

struct xn_field {
	const char *name;    /* wire name: name_label */
	const char *db_name; /* in filter expressions and MAP_DUPLICATE_KEY: name__label */
	const struct xn_type *type;
	enum xn_qualifier qualifier;
	enum xn_lifecycle lifecycle;
	bool internal;		  /* kept, but never in a record or a message */
	bool persistent;
	bool required;		  /* create() must be given it: RW or RO/constructor without default */
	const char *default_json; /* never NULL: the model's default, else the type's empty value */
	enum xn_relation relation;
	int other_class, other_field; /* the relation's other end; -1 */
	enum xn_role role_read, role_write;
	const struct xn_key_role *key_roles; /* ends with .key == NULL; NULL: none */
	const char *doc;		     /* one line, our own words; may be "" */
};

struct xn_class {
	int id;
	const char *name;	/* "VM", "host" */
	const char *event_name; /* lower case: "vm" */
	const struct xn_field *fields;
	unsigned n_fields; /* public first, internal behind them */
	unsigned n_public;
	int uuid_field, name_label_field; /* -1: none */
	bool in_database, persistent, has_events, has_create_destroy, has_get_all,
		has_get_by_name_label;
	bool internal; /* our own: no messages, no events, in no list a client sees */
	enum xn_lifecycle lifecycle;
	const char *doc;
};

enum xn_method_kind {
	XN_M_EXPLICIT,
	XN_M_GET,	/* .field */
	XN_M_SET,	/* .field */
	XN_M_ADD,	/* .field: add_to_map(self, key, value) or add_set(self, value) */
	XN_M_REMOVE,	/* .field */
	XN_M_CREATE,
	XN_M_DESTROY,
	XN_M_GET_RECORD,
	XN_M_GET_BY_UUID,
	XN_M_GET_BY_NAME_LABEL,
	XN_M_GET_ALL,
	XN_M_GET_ALL_RECORDS,
	XN_M_GET_ALL_WHERE,
	XN_M_GET_ALL_RECORDS_WHERE,
};

struct xn_param {
	const char *name;
	const struct xn_type *type;
	const char *default_json; /* NULL: must be given */
};

enum xn_method_flags {
	XN_MF_ASYNC = 1 << 0,	      /* Async.Class.method exists */
	XN_MF_HIDDEN = 1 << 1,	      /* callable, not published, not in system.listMethods' documents */
	XN_MF_NO_SESSION = 1 << 2,    /* the first parameter is no session */
	XN_MF_POOL_INTERNAL = 1 << 3, /* INTERNAL_ERROR for ordinary sessions */
	XN_MF_SECRET = 1 << 4,	      /* arguments never logged */
	XN_MF_REMOVED = 1 << 5,	      /* MESSAGE_REMOVED after count and session check */
	XN_MF_DEPRECATED_UPSTREAM = 1 << 6, /* MESSAGE_DEPRECATED */
	XN_MF_EMERGENCY = 1 << 7,
	XN_MF_NO_CURRENT_OPERATIONS = 1 << 8,
	XN_MF_OWN_RESULT = 1 << 9,  /* the result is no value of .result: encode it by its own kind */
	XN_MF_CLIENT_CERT = 1 << 10, /* also for the role client-cert, whatever .min_role */
};

struct xn_method {
	const char *name; /* "VM.start" */
	const char *message; /* "start" */
	int class_id;
	enum xn_method_kind kind;
	int field;		       /* for kinds about one field, else -1 */
	const struct xn_param *params; /* session not among them */
	unsigned n_params, n_required;
	const struct xn_type *result;
	enum xn_role min_role;
	/* Of the map key that a parameter `key` names; for set_X: of each key that changes. */
	const struct xn_key_role *key_roles;
	unsigned flags;		   /* enum xn_method_flags */
	int forward_param;	   /* runs on the host of this argument; -1: on the coordinator */
	int lock_param;		   /* argument whose object takes `operation`; -1: none */
	const char *operation;	   /* current_operations value it takes, or NULL */
	const char *const *errors; /* NULL-terminated codes */
	const char *doc;
};

extern const struct xn_class xn_classes[XN_CLASS_COUNT]; /* index: enum xn_class_id */
extern const struct xn_method *const xn_methods;	 /* sorted by name, byte order */
extern const unsigned xn_n_methods;
extern const struct xn_enum *const xn_enums[];
extern const unsigned xn_n_enums;
struct xn_error_info {
	const char *code;
	const char *params; /* comma separated names */
	const char *doc;    /* one sentence for people */
};
extern const struct xn_error_info xn_errors[];
extern const unsigned xn_n_errors;

/* Lookups: exact names; NULL or -1 when unknown. */
const struct xn_method *xn_method_find(const char *name);
const struct xn_class *xn_class_find(const char *name);		  /* "VM" */
const struct xn_class *xn_class_find_event(const char *name);	  /* any case: "vm", "Vm" */
int xn_field_find(const struct xn_class *cls, const char *name); /* wire or database name */
int xn_enum_find(const struct xn_enum *e, const char *value);	  /* without regard to case */
/* The code as a static string, or NULL when no such code exists. Compare codes with strcmp. */
const char *xn_error_code_find(const char *code);
const struct xn_error_info *xn_error_find(const char *code); /* the same, with all that is known */

/*
 * xn_type_check - the one place where client data is held against a type
 * @v: taken; the converted value is returned ("42" -> int, date text -> datetime, enum spelling
 *     corrected, nil -> NULL ref is NOT accepted). Records keep unknown members.
 * Return: the caller's value, or NULL with @err: FIELD_TYPE_ERROR [name] for a wrong shape,
 * INVALID_VALUE [name, value] for a bad enum, date, number or text.
 */
struct xn_value *xn_type_check(const struct xn_type *type, struct xn_value *v, const char *name,
			       struct xn_error *err);

/* A new reference to the field's default (parsed once, shared). */
struct xn_value *xn_field_default(const struct xn_class *cls, unsigned field);
struct xn_value *xn_param_default(const struct xn_param *param);

#endif
