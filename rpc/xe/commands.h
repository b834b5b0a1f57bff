/*
 * The table of commands, made from commands.txt: what is told there, as rows, texts as offsets into
 * one string. The commands of the record tables (vm-list, vm-param-set ...) are not among them: see
 * rpc/xe/record/record.h.
 */
#ifndef XE_COMMANDS_H
#define XE_COMMANDS_H

#include "core/call.h"
#include "rpc/xe/command.h"

enum {
	XE_STANDARD = 1 << 0,
	XE_HIDDEN = 1 << 1,
	XE_DEPRECATED = 1 << 2,
	XE_VM_SELECTORS = 1 << 3,
	XE_HOST_SELECTORS = 1 << 4,
	XE_SR_SELECTORS = 1 << 5,
	XE_TEMPLATES = 1 << 6,
	XE_SNAPSHOTS = 1 << 7,
	XE_DOM0 = 1 << 8,
	XE_LOCAL = 1 << 9,
	XE_OPERATION = 1 << 10,
	XE_NO_LOGIN = 1 << 11,
	XE_TOGETHER = 1 << 12, /* one run for all objects */
	XE_SINGLE = 1 << 13,   /* no --multiple */
	XE_ITSELF = 1 << 14,   /* its code finds the object, selectors are for help only */
	XE_EVERY = 1 << 15,    /* --multiple or not */
};

struct xe_command_row {
	/* Offsets into xe_command_texts, 0: "". Lists have blanks between their items; of `example`
	 * each line is one. */
	uint16_t name, doc, required, optional, action, calls, example, deprecated, group;
	uint16_t flags;
	xe_handler *run; /* NULL: not there yet */
};

extern const struct xe_command_row xe_command_rows[]; /* by name */
extern const unsigned xe_n_command_rows;
extern const char xe_command_texts[];

static inline const char *xe_command_text(uint16_t offset)
{
	return xe_command_texts + offset;
}

const struct xe_command_row *xe_command_find(const char *name); /* or NULL */
/* It has code, and the daemon answers every message that it calls. */
bool xe_command_is_there(const struct xn_methods *methods, const struct xe_command_row *row);
/* Whether @name is in a blank-separated list of parameters; "config:" there takes all config:KEY and
 * config-KEY. */
bool xe_command_list_has(const char *list, const char *name);

/* The handler of each row with a `do:` line. */
xe_handler xe_run_do;

#endif
