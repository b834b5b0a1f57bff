/*
 * The modules below the API (db, auth, task, event, message) without rpc and without a socket:
 * calls go straight to their handlers. In virtual time, so that a test can wait a day.
 */
#ifndef XN_API_FIXTURE_H
#define XN_API_FIXTURE_H

#include "core/call.h"
#include "core/module.h"
#include "modules/db/db.h"
#include "modules/db/store_sim.h"

struct api {
	char dir[40];
	char password_file[64];
	struct xn_sim_disk *disk;
	struct xn_core core;
	struct xn_db *db;
	struct xn_caller root; /* who calls, unless the test says otherwise */
	char secret[48];
	uint64_t starts;
	const struct xn_module *const *modules;
	void (*on_start)(struct api *api); /* once the modules run, before they are told so */
	int64_t wall_us;                   /* when it was last stopped */
};

/* For cmocka. */
int api_setup(void **state);
int api_teardown(void **state);
/* With other modules than those above; @modules ends with NULL. */
int api_setup_with(void **state, const struct xn_module *const *modules);
/* Stops all modules and starts them again on the same state. Time goes on. */
void api_restart(struct api *api);
/* The same after SIGKILL or a power loss. */
void api_crash(struct api *api, enum xn_sim_crash kind);

/* One call under way. */
struct api_call {
	struct xn_call call;
	bool done, is_task;
	char *json; /* the result's text; NULL on failure */
	struct xn_error err;
};

/* @args: JSON of an array. Ends later; @call must stay until it is done. */
void api_begin(struct api *api, struct api_call *call, const char *method, const char *args);
void api_begin_as(struct api *api, struct api_call *call, const struct xn_caller *caller,
		  const char *method, const char *args);
/* The same as Async.@method does it: the end goes to a new task, whose reference is
 * @call->call.task. */
void api_begin_task(struct api *api, struct api_call *call, const char *method, const char *args);
void api_call_clear(struct api_call *call);
/* Begins, then runs the loop until the call is done. The result's JSON: the test's to free. */
char *api_do(struct api *api, const char *method, const char *args);
/* The same for a call that must fail: checks the code and hands over the error. */
void api_fail(struct api *api, const char *method, const char *args, const char *code,
	      struct xn_error *err);
/* A session of this role. */
void api_log_in(struct api *api, const char *user, enum xn_role role, struct xn_caller *caller,
		char secret[48]);

void api_run(struct api *api, int64_t seconds); /* lets time pass */
void api_turn(struct api *api);                 /* what is ready runs, and is committed */
void api_wait(struct api *api, const bool *done);

#endif
