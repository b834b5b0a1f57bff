/* A database by itself: on files with a real loop, or on a simulated disk in virtual time. */
#ifndef XN_TEST_DB_FIXTURE_H
#define XN_TEST_DB_FIXTURE_H

#include "tests/unit/cmocka_all.h"
#include "tests/unit/turn_until.h"

#include "modules/db/db_internal.h"
#include "modules/db/store_sim.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
	char dir[40];		  /* files; "" on a simulated disk */
	struct xn_sim_disk *disk; /* or NULL */
	bool in_virtual_time;	  /* on files, too */
	uint64_t seed;
	struct xn_core core;
	struct xn_db *db; /* NULL when it did not start */
	char why[300];	  /* then: the error */
};

static inline bool try_start(struct fixture *f)
{
	static const struct xn_module *const modules[] = {&xn_db_module, NULL};
	struct xn_config *config = xn_config_new();
	struct xn_error err = {0};

	if (*f->dir)
		xn_config_decide(config, "state-dir", f->dir);
	xn_core_init(&f->core, f->disk || f->in_virtual_time ? xn_loop_new_virtual(f->seed) : xn_loop_new(),
		     xn_log_new(XN_LOG_ERROR, false, -1), config);
	if (f->disk)
		f->core.store = xn_store_sim_new(&f->core, f->disk);
	f->db = NULL;
	if (xn_modules_start(&f->core, modules, &err)) {
		f->db = xn_db_of(&f->core);
		return true;
	}
	snprintf(f->why, sizeof(f->why), "%s %s", err.params[0],
		 err.n_params > 1 ? err.params[1] : "");
	xn_error_clear(&err);
	return false;
}

static inline void start(struct fixture *f)
{
	if (!try_start(f))
		fail_msg("%s", f->why);
}

static inline void stop(struct fixture *f)
{
	struct xn_loop *loop = f->core.loop;
	struct xn_log *log = f->core.log;
	struct xn_config *config = f->core.config;

	if (f->db)
		xn_modules_stop(f->core.modules);
	f->db = NULL;
	xn_core_clear(&f->core);
	xn_config_free(config);
	xn_log_free(log);
	xn_loop_free(loop);
}

static inline void restart(struct fixture *f)
{
	stop(f);
	start(f);
}

static inline void crash(struct fixture *f, enum xn_sim_crash kind)
{
	xn_sim_disk_crash(f->disk, kind);
	restart(f);
}

static inline int setup_files(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/xn-test-db-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	start(f);
	*state = f;
	return 0;
}

static inline int setup_sim(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->seed = 1;
	f->disk = xn_sim_disk_new(1);
	start(f);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	int rc = 0;

	stop(f);
	if (*f->dir) {
		char *command = xn_asprintf("rm -rf '%s'", f->dir);

		rc = system(command);
		free(command);
	}
	xn_sim_disk_free(f->disk);
	free(f);
	return rc;
}

/* ---- turns ---- */

static inline void do_nothing(struct xn_job *job)
{
	(void)job;
}

/* A turn, so that its end commits. */
static inline void commit(struct fixture *f)
{
	struct xn_job job = {0};

	xn_loop_defer(f->core.loop, &job, XN_PRIO_REPLY, do_nothing);
	while (xn_job_is_pending(&job))
		xn_loop_turn(f->core.loop, 0);
}

struct flag {
	struct xn_db_wait wait;
	bool told;
	int rc;
};

static inline void on_wait_flag(struct xn_db_wait *wait, int rc)
{
	struct flag *flag = xn_container_of(wait, struct flag, wait);

	flag->told = true;
	flag->rc = rc;
}

static inline void run_until(struct fixture *f, const bool *flag)
{
	TURN_UNTIL(f->core.loop, *flag);
}

/* Until all that was changed survives power loss; 0, or the error. */
static inline int sync_all(struct fixture *f)
{
	struct flag flag = {0};

	xn_db_when_durable(f->db, &flag.wait, on_wait_flag);
	commit(f);
	run_until(f, &flag.told);
	return flag.rc;
}

/* Changes a byte where the file has this text. */
static inline void damage(struct fixture *f, const char *file, const char *text)
{
	char *path = xn_asprintf("%s/db/%s", f->dir, file);
	int fd = open(path, O_RDWR);
	struct stat st;
	char *bytes, *at;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	bytes = malloc((size_t)st.st_size);
	assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
	at = memmem(bytes, (size_t)st.st_size, text, strlen(text));
	assert_non_null(at);
	assert_int_equal(pwrite(fd, "#", 1, at - bytes), 1);
	close(fd);
	free(bytes);
	free(path);
}

/* ---- rows ---- */

static inline struct xn_row *a_row(struct fixture *f, int class_id, const char *field,
				   const char *value)
{
	struct xn_value *fields = xn_map_new();
	struct xn_row *row;

	xn_map_put_string(&fields, field, value);
	row = xn_db_create(f->db, class_id, NULL, fields);
	xn_value_unref(fields);
	return row;
}

static inline struct xn_row *a_vm(struct fixture *f, const char *name)
{
	return a_row(f, XN_CLASS_VM, "name_label", name);
}

static inline struct xn_row *a_vbd(struct fixture *f, const struct xn_row *vm)
{
	return a_row(f, XN_CLASS_VBD, "VM", xn_row_ref(vm));
}

static inline void assert_clean(struct fixture *f)
{
	struct xn_buf report = {0};

	if (xn_db_check(f->db, &report))
		fail_msg("%s", xn_buf_cstr(&report));
	xn_buf_clear(&report);
}

#endif
