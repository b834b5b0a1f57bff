/* See import_made.h. A pass belongs to one run of a step or an undo, and ends when that does. */
#include "modules/transfer/import_made.h"

#include <stdlib.h>

#include "modules/domain/domain.h"
#include "modules/transfer/import_plan.h"

struct pass {
	struct xn_list link; /* t->passes, while its next turn is awaited */
	struct xn_job turn;
	struct xn_transfers *t;
	struct xn_op_token token;
	void (*each)(struct pass *pass, const char *ref);
	void (*then)(struct pass *pass);
	struct xn_value *refs; /* for each() */
	struct xn_value *vdis, *networks;
	size_t at; /* of .refs, then of the disks */
};

static void free_pass(struct pass *pass)
{
	xn_list_remove(&pass->link);
	xn_job_cancel(&pass->turn);
	xn_value_unref(pass->refs);
	xn_value_unref(pass->vdis);
	xn_value_unref(pass->networks);
	free(pass);
}

/* ---- machines that are held ---- */

struct held_vm {
	struct xn_hnode node; /* t->imported */
	struct xn_claim claim;
};

void xn_import_hold_vm(struct xn_transfers *t, const char *vm, const char *task)
{
	struct held_vm *held = xn_calloc(1, sizeof(*held));

	xn_claim_force(t->operations, &held->claim, XN_CLASS_VM, vm, "import", task);
	xn_hmap_insert(&t->imported, &held->node, xn_hash_string(vm));
}

/* False after a restart: nobody holds it. */
static bool release_vm(struct xn_transfers *t, const char *vm)
{
	struct xn_hnode *node = xn_hmap_first_same(&t->imported, xn_hash_string(vm));
	struct held_vm *held;

	for (; node; node = xn_hmap_next_same(node)) {
		held = xn_container_of(node, struct held_vm, node);
		if (strcmp(held->claim.object, vm) == 0)
			break;
	}
	if (!node)
		return false;
	xn_hmap_remove(&t->imported, node);
	xn_operation_release(&held->claim);
	free(held);
	return true;
}

void xn_import_drop_made(struct xn_transfers *t)
{
	struct xn_hnode *node;

	xn_list_each_safe(link, &t->passes)
		free_pass(xn_list_entry(link, struct pass, link));
	while ((node = xn_hmap_first(&t->imported))) {
		struct held_vm *held = xn_container_of(node, struct held_vm, node);

		xn_hmap_remove(&t->imported, node);
		xn_claim_cut(&held->claim);
		free(held);
	}
	xn_hmap_clear(&t->imported);
}

static void on_pass_turn(struct xn_job *turn)
{
	struct pass *pass = xn_container_of(turn, struct pass, turn);
	struct xn_slice slice = {0};

	xn_list_remove(&pass->link);
	if (!xn_op_find(pass->t->core, &pass->token)) { /* which is its origin, too */
		free_pass(pass);
		return;
	}
	for (; pass->at < xn_set_len(pass->refs); pass->at++) {
		if (!xn_slice_has_room(&slice, pass->t)) {
			xn_list_push(&pass->t->passes, &pass->link);
			xn_loop_defer(pass->t->core->loop, turn, XN_PRIO_BULK, on_pass_turn);
			return;
		}
		pass->each(pass, xn_value_string(xn_set_at(pass->refs, pass->at)));
	}
	pass->at = 0;
	pass->then(pass);
}

static struct xn_value *refs_in(const struct xn_op *op, const char *arg)
{
	const struct xn_value *refs = xn_map_get(op->args, arg);

	return refs ? xn_value_ref(refs) : xn_set_new();
}

static void begin_pass(struct xn_op *op, const char *vdis,
		       void (*each)(struct pass *pass, const char *vm),
		       void (*then)(struct pass *pass))
{
	struct pass *pass = xn_calloc(1, sizeof(*pass));

	xn_list_init(&pass->link);
	pass->t = xn_module_state(op->core, "transfer");
	pass->token = xn_op_token(op);
	pass->each = each;
	pass->then = then;
	pass->refs = refs_in(op, "vms");
	pass->vdis = refs_in(op, vdis);
	pass->networks = refs_in(op, "networks");
	on_pass_turn(&pass->turn);
}

/* ---- undo ---- */

static void remove_vm(struct pass *pass, const char *ref)
{
	struct xn_row *vm = xn_db_get(pass->t->db, XN_CLASS_VM, ref);

	if (vm)
		xn_vm_remove(pass->t->core, vm);
	release_vm(pass->t, ref);
}

/* Somebody may have taken to it meanwhile. */
static void remove_network(struct pass *pass, const char *ref)
{
	struct xn_row *network = xn_db_get(pass->t->db, XN_CLASS_network, ref);

	if (network && !xn_set_len(xn_row_get(network, XN_network_VIFs)) &&
	    !xn_set_len(xn_row_get(network, XN_network_PIFs)))
		xn_db_delete(pass->t->db, network);
}

static void remove_next_disk(struct pass *pass);

static void remove_networks(struct pass *pass)
{
	xn_value_unref(pass->refs);
	pass->refs = xn_value_ref(pass->networks);
	pass->each = remove_network;
	pass->then = remove_next_disk;
	on_pass_turn(&pass->turn);
}

static void on_removed(const struct xn_error *err, void *arg)
{
	struct pass *pass = arg;
	struct xn_error copy = {0};

	if (err) {
		xn_error_copy(&copy, err);
		xn_op_fail_late(pass->t->core, &pass->token, &copy);
		free_pass(pass);
		return;
	}
	pass->at++;
	remove_next_disk(pass);
}

static void remove_next_disk(struct pass *pass)
{
	if (pass->at < xn_set_len(pass->vdis)) {
		xn_storage_destroy_vdi(pass->t->storage,
				       xn_value_string(xn_set_at(pass->vdis, pass->at)), on_removed,
				       pass);
		return;
	}
	xn_op_done_late(pass->t->core, &pass->token, 0);
	free_pass(pass);
}

void xn_import_remove_all(struct xn_op *op)
{
	begin_pass(op, "vdis", remove_vm, remove_networks);
}

/* ---- letting go ---- */

static void let_go_of_vm(struct pass *pass, const char *ref)
{
	struct xn_row *vm = xn_db_get(pass->t->db, XN_CLASS_VM, ref);

	if (!release_vm(pass->t, ref) && vm) /* what it may do is as of before the restart */
		xn_operation_refresh_all(pass->t->operations, vm);
}

static void protect_disks(struct pass *pass)
{
	struct xn_db *db = pass->t->db;

	for (size_t k = 0; k < xn_set_len(pass->vdis); k++) {
		struct xn_row *vdi = xn_db_get(db, XN_CLASS_VDI,
					       xn_value_string(xn_set_at(pass->vdis, k)));

		if (vdi)
			xn_db_set_bool(db, vdi, XN_VDI_read_only, true);
	}
	xn_op_done_late(pass->t->core, &pass->token, 0);
	free_pass(pass);
}

void xn_import_let_go(struct xn_op *op)
{
	begin_pass(op, "read_only", let_go_of_vm, protect_disks);
}
