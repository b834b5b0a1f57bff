/* The storage module: start, stop, and what it does unasked; see storage.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "modules/message/message.h"
#include "modules/storage/storage_internal.h"

enum { BACKGROUND_US = 30 * 1000 * 1000, QUICK_WORKERS = 4, COPY_WORKERS = 2 };

const char *xn_storage_default_sr(struct xn_storage *st)
{
	const struct xn_row *pool = xn_db_get(st->db, XN_CLASS_pool, xn_host_pool(st->host));

	return pool ? xn_row_string(pool, XN_pool_default_SR) : XN_NULL_REF;
}

/* ---- looking at SRs unasked: at the start, and now and then ---- */

struct look {
	struct xn_list link; /* st->looks */
	struct xn_storage *st;
	char sr[XN_REF_LEN];
	bool starting; /* what cannot be reached now is not attached */
};

static void give_up_sr(struct look *look, const struct xn_error *why)
{
	struct xn_storage *st = look->st;
	struct xn_row *sr = xn_db_get(st->db, XN_CLASS_SR, look->sr);
	struct xn_row *host = xn_db_get(st->db, XN_CLASS_host, xn_host_ref(st->host));
	struct xn_error ignored = {0};
	struct xn_sr_binding binding = {0};
	char message[XN_REF_LEN];

	if (sr && xn_db_writable(st->db) == 0 && xn_sr_bind(st, sr, &binding, &ignored) == 0) {
		xn_db_set_bool(st->db, binding.pbd, XN_PBD_currently_attached, false);
		xn_operation_refresh(st->operations, sr);
		xn_message_create(xn_messages_of(st->core), "PBD_PLUG_FAILED_ON_SERVER_START", 3,
				  "Host", xn_row_uuid(host), xn_row_uuid(sr), message);
	}
	xn_sr_binding_clear(&binding);
	xn_error_clear(&ignored);
	xn_log_warn(st->core->log, "storage", "SR %s cannot be attached: %s", look->sr,
		    why->n_params ? why->params[why->n_params - 1] : why->code);
}

static void on_looked(const struct xn_error *err, void *arg)
{
	struct look *look = arg;

	/* What finds no room in the database is there all the same. */
	if (err && look->starting && strcmp(err->code, XN_ERR_OUT_OF_SPACE) != 0)
		give_up_sr(look, err);
	xn_list_remove(&look->link);
	free(look);
}

static void look_at(struct xn_storage *st, const struct xn_row *sr, bool adopt, bool starting)
{
	struct look *look = xn_calloc(1, sizeof(*look));

	look->st = st;
	look->starting = starting;
	snprintf(look->sr, sizeof(look->sr), "%s", xn_row_ref(sr));
	xn_list_push(&st->looks, &look->link);
	xn_sr_scan(st, look->sr, adopt, on_looked, look);
}

static void on_space(struct xn_sr_request *rq, int rc)
{
	struct xn_storage *st = rq->arg;

	st->looking_at_space--;
	if (rc == 0 && xn_db_writable(st->db) == 0)
		xn_sr_note(st, rq->location, &rq->space, 0);
}

/* How full it is: cheap, so it needs no wish. */
static void look_at_space(struct xn_storage *st, const struct xn_row *sr)
{
	struct xn_error ignored = {0};
	struct xn_sr_binding binding = {0};

	if (xn_sr_bind(st, sr, &binding, &ignored) == 0) {
		st->looking_at_space++;
		/* The location of this request is the SR's reference: attach looks at none. */
		xn_sr_request_submit(st, xn_sr_request_new(st, binding.folder, xn_row_ref(sr)),
				     binding.ops->attach, on_space, st);
	}
	xn_sr_binding_clear(&binding);
	xn_error_clear(&ignored);
}

static bool wants_scans(const struct xn_row *sr)
{
	const char *auto_scan = xn_row_map_string(sr, XN_SR_other_config, "auto-scan");

	return (auto_scan && strcmp(auto_scan, "true") == 0) ||
	       xn_row_map_string(sr, XN_SR_other_config, "dirty");
}

static bool is_attached(struct xn_storage *st, const struct xn_row *sr)
{
	struct xn_error ignored = {0};
	struct xn_sr_binding binding = {0};
	bool attached = xn_sr_bind(st, sr, &binding, &ignored) == 0;

	xn_sr_binding_clear(&binding);
	xn_error_clear(&ignored);
	return attached;
}

/* Looks change no row before they come back, so the walks are safe. */
static void look_at_the_start(struct xn_storage *st)
{
	for (struct xn_row *sr = xn_db_first(st->db, XN_CLASS_SR); sr; sr = xn_db_next(st->db, sr))
		if (is_attached(st, sr))
			look_at(st, sr, wants_scans(sr), true);
}

static void look_now_and_then(struct xn_storage *st)
{
	for (struct xn_row *sr = xn_db_first(st->db, XN_CLASS_SR); sr;
	     sr = xn_db_next(st->db, sr)) {
		bool busy = xn_map_len(xn_row_get(sr, XN_SR_current_operations)) > 0;

		if (!is_attached(st, sr))
			continue;
		if (!busy && wants_scans(sr))
			look_at(st, sr, true, false);
		else
			look_at_space(st, sr);
	}
}

static void on_background(struct xn_timer *timer)
{
	struct xn_storage *st = xn_container_of(timer, struct xn_storage, background);

	/* One round at a time, however slow the disks are. */
	if (xn_list_empty(&st->looks) && st->looking_at_space == 0 && xn_db_writable(st->db) == 0)
		look_now_and_then(st);
	xn_timer_arm(st->core->loop, &st->background, BACKGROUND_US, on_background);
}

/* A boot detached everything; it is attached again, or given up when it cannot be reached. */
static void attach_after_boot(struct xn_storage *st)
{
	struct xn_row *host = xn_db_get(st->db, XN_CLASS_host, xn_host_ref(st->host));
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *pbds = xn_value_ref(xn_row_get(host, XN_host_PBDs));

	for (size_t i = 0; i < xn_set_len(pbds); i++) {
		const char *ref = xn_value_string(xn_set_at(pbds, i));

		xn_db_set_bool(st->db, xn_db_get(st->db, XN_CLASS_PBD, ref),
			       XN_PBD_currently_attached, true);
	}
}

/* ---- module ---- */

/* Guests' disks are handed on as paths, so a folder named from the working folder will not do. */
static char *absolute(const char *path)
{
	char *here, *full;

	if (path[0] == '/')
		return xn_strdup(path);
	here = getcwd(NULL, 0);
	full = xn_asprintf("%s/%s", here ? here : "", path);
	free(here);
	return full;
}

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct xn_storage *st = xn_container_of(source, struct xn_storage, metrics);
	const struct {
		const char *name;
		struct xn_pool *pool;
	} pools[] = {{"quick", st->quick}, {"copy", st->copies}};

	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_storage_jobs_running", "",
			  "Work on disks that workers do, by kind.");
	for (size_t i = 0; i < XN_ARRAY_SIZE(pools); i++)
		xn_metrics_int(page, pools[i].pool ? xn_pool_running(pools[i].pool) : 0, "kind",
			       pools[i].name);
	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_storage_jobs_queued", "",
			  "Work on disks that waits for a worker, by kind.");
	for (size_t i = 0; i < XN_ARRAY_SIZE(pools); i++)
		xn_metrics_int(page, pools[i].pool ? xn_pool_queued(pools[i].pool) : 0, "kind",
			       pools[i].name);
	return 0;
}

static int storage_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_storage *st = xn_calloc(1, sizeof(*st));
	const struct xn_method_impl *const tables[] = {xn_vdi_methods, xn_sr_methods};

	st->core = core;
	xn_list_init(&st->requests);
	xn_list_init(&st->makes);
	xn_list_init(&st->removals);
	xn_list_init(&st->use_changes);
	xn_list_init(&st->scans);
	xn_list_init(&st->waits);
	xn_list_init(&st->looks);
	st->metrics.write = write_metrics;
	xn_metrics_add(core->metrics, &st->metrics);
	*state_out = st;
	for (unsigned i = 0; i < XN_ARRAY_SIZE(tables); i++)
		for (const struct xn_method_impl *impl = tables[i]; impl->name; impl++)
			if (xn_methods_add(core->methods, impl, st, err) < 0)
				return -1;
	return 0;
}

static void restarted(struct xn_op *op, void *arg)
{
	const struct xn_storage *st = arg;
	const struct xn_value *vms = xn_map_get(op->args, "stopped");

	if (vms && st->writers)
		st->writers->were_stopped(vms, st->writers_arg);
}

static void ignore(const struct xn_error *err, void *arg)
{
}

/* One that had all its steps behind it when the daemon died: nothing else lets go whom the restart
 * took for stopped. */
static void ended_after_restart(struct xn_op *op, const struct xn_error *err, void *arg)
{
	const struct xn_storage *st = arg;
	const struct xn_value *vms = xn_map_get(op->args, "stopped");

	if (vms && st->writers && !xn_storage_op_of(op)->writers_go)
		st->writers->go_on(vms, ignore, NULL, st->writers_arg);
}

static void register_kinds(struct xn_storage *st, const struct xn_op_kind *const *kinds)
{
	for (; *kinds; kinds++)
		xn_operation_register_kind(st->operations, *kinds, restarted, ended_after_restart,
					   NULL, st);
}

static int storage_start(void *state, struct xn_error *err)
{
	struct xn_storage *st = state;
	struct xn_core *core = st->core;

	st->db = xn_db_of(core);
	st->host = xn_host_of(core);
	st->operations = xn_operations_of(core);
	st->state_dir = absolute(xn_config_string(core->config, "state-dir"));
	st->quick = xn_pool_new(core->loop, "storage", QUICK_WORKERS);
	st->copies = xn_pool_new(core->loop, "copy", COPY_WORKERS);
	xn_storage_register_rules(st->operations);
	register_kinds(st, xn_vdi_op_kinds);
	register_kinds(st, xn_sr_op_kinds);
	xn_storage_refresh_sm(st);
	if (xn_host_is_first_start(st->host))
		xn_storage_make_first_rows(st);
	if (xn_host_has_rebooted(st->host))
		attach_after_boot(st);
	look_at_the_start(st);
	xn_timer_arm(core->loop, &st->background, BACKGROUND_US, on_background);
	return 0;
}

void xn_storage_set_writers(struct xn_storage *st, const struct xn_storage_writers *writers,
			    void *arg)
{
	st->writers = writers;
	st->writers_arg = arg;
}

/* Nobody is told about what is under way; the next start finds it by its file names. */
static void storage_stop(void *state)
{
	struct xn_storage *st = state;
	struct xn_list *node;

	xn_metrics_remove(&st->metrics);
	xn_timer_cancel(&st->background);
	xn_list_each(request, &st->requests) {
		struct xn_sr_request *rq = xn_list_entry(request, struct xn_sr_request, link);

		rq->done = NULL;
		atomic_store(&rq->progress.stop, true);
	}
	xn_pool_free(st->copies);
	xn_pool_free(st->quick);
	xn_sr_requests_abandon(st);
	xn_vdi_make_abandon(st);
	xn_vdi_remove_abandon(st);
	xn_datapath_abandon(st);
	xn_sr_scan_abandon(st);
	xn_storage_waits_abandon(st);
	while ((node = xn_list_pop(&st->looks)))
		free(xn_list_entry(node, struct look, link));
	free(st->state_dir);
	free(st);
}

static const char *const storage_needs[] = {"db", "host", "message", "operation", "records", NULL};

const struct xn_module xn_storage_module = {
	.name = "storage",
	.needs = storage_needs,
	.init = storage_init,
	.start = storage_start,
	.stop = storage_stop,
};
