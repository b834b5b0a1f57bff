/*
 * Answers to questions: the same for a call, on a worker, and for the flag --history. Only reads
 * files; takes nothing from the daemon but what is in the arguments.
 */
#ifndef XN_HISTORY_ANSWER_H
#define XN_HISTORY_ANSWER_H

#include "modules/history/query.h"
#include "modules/history/writer.h"

/* Encoded default values of all fields; made once, on the loop's thread. */
struct history_defaults {
	struct xn_buf bytes;
	struct xn_slice *of[XN_CLASS_COUNT]; /* by field */
};
void history_defaults_init(struct history_defaults *defaults);
void history_defaults_clear(struct history_defaults *defaults);

enum { HISTORY_ANSWER_MAX = 64 << 20 };

/*
 * history_answer - appends the answer to @out
 * @dir: the state folder; @now_us: what is later is the future
 * Return: 0, or -1 with @err and nothing of use in @out.
 */
int history_answer(const char *dir, const struct xn_history_options *options,
		   const struct history_defaults *defaults, const struct history_query *query,
		   enum xn_format format, int64_t now_us, struct xn_buf *out,
		   struct xn_error *err);

/* ---- between the files of this folder ---- */
struct history_asking {
	struct xn_history *h;
	const struct history_query *q;
	const struct xn_history_options *options;
	const struct history_defaults *defaults;
	struct xn_writer w;
	int64_t now_us;
	struct xn_error *err;
};

int history_answer_changes(struct history_asking *a);
int history_answer_record(struct history_asking *a);
int history_answer_all_records(struct history_asking *a);
int history_answer_difference(struct history_asking *a);

/* Whether who asks may see the field, and history has it. */
bool history_shows(const struct history_asking *a, int class_id, int field);
/* What history leaves out did not stay as it was: -1 with an error, when the question is about that.
 * @class_id: -1 any; @tells_sets: sets that follow from other rows' references are told, too. */
int history_check_kept(struct history_asking *a, int class_id, bool tells_sets);
/* The generation that @when means, for questions about a state. -1 with an error: not known. */
int history_generation(struct history_asking *a, const struct xn_moment *when, const char *name,
		       uint64_t *out);
/* The rows then. -1 with an error. */
int history_rows(struct history_asking *a, const struct xn_moment *when, const char *name,
		 bool (*wants)(void *arg, const struct xn_slice *ref, int class_id), void *arg,
		 uint64_t *generation_out, struct xn_history_rows **out);
/* The text of an encoded reference; "" when it is none. */
void history_ref_text(const struct xn_slice *ref, char out[48]);
/* By field number: a pair's value, or the default. */
struct xn_slice history_pair(const struct history_asking *a, int class_id, int field,
			     struct xn_slice pairs, bool *is_given);
void history_put_next(struct history_asking *a, const struct history_place *next);
/* Members "oldest", "gaps", and whether nothing is missing from @since on. */
void history_put_limits(struct history_asking *a, bool is_complete);
int history_failed(struct history_asking *a, int rc);

/* ---- records.c ---- */
/* Public fields with what other rows' references add; see records.c. */
struct history_state {
	struct xn_history_rows *rows;
	struct history_link *links;
	size_t n_links;
	uint64_t generation;
};
int history_state_load(struct history_asking *a, const struct xn_moment *when, const char *name,
		       int class_id, struct history_state *state);
void history_state_clear(struct history_state *state);
/* Encodes the field's value: stored, default or derived. */
void history_state_value(const struct history_asking *a, const struct history_state *state,
			 const struct xn_history_row *row, int field, struct xn_buf *out);
/* @uuid: encoded. */
bool history_row_has_uuid(const struct history_asking *a, const struct xn_history_row *row,
			  const struct xn_buf *uuid);

#endif
