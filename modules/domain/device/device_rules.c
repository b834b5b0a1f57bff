/*
 * Which operation is possible on a VM's device (VBD, VIF, VUSB, VTPM) when; registered with
 * modules/operation. All look at their VM's power state, most at its operations and drivers, too; a
 * VBD also at its disk and who else uses it.
 */
#include "modules/domain/domain_internal.h"

enum {
	WHEN_ATTACHED = 1, /* refused unless attached to a running VM */
	WHEN_DETACHED = 2, /* refused when attached already */
	VM_STAYS = 4,      /* not while the VM is going away */
	HOTPLUG = 8,       /* an HVM guest needs drivers */
	UNPLUGGABLE = 16,
	REMOVABLE = 32, /* only CD drives */
	IF_EMPTY = 64,
	IF_FULL = 128,
	DISK_FREE = 256, /* the VDI has no operation of its own */
	DISK_SHARING =
		512, /* nobody else uses the VDI in a way that this forbids; when executing only */
	WITH_PAUSE = 1024,  /* beside pause and unpause */
	WITH_ATTACH = 2048, /* beside attach, too */
	LIVE = 4096,        /* VM neither Halted nor Suspended */
};

struct rule {
	const char *name;
	unsigned checks;
};

static const struct rule vbd_rules[] = {
	{"attach", DISK_FREE | DISK_SHARING},
	{"eject", REMOVABLE | IF_FULL},
	{"insert", REMOVABLE | IF_EMPTY},
	{"plug", WHEN_DETACHED | VM_STAYS | HOTPLUG | DISK_FREE | DISK_SHARING},
	{"unplug", WHEN_ATTACHED | VM_STAYS | HOTPLUG | UNPLUGGABLE},
	{"unplug_force", WHEN_ATTACHED | HOTPLUG | UNPLUGGABLE},
	{"pause", WITH_PAUSE | LIVE},
	{"unpause", WITH_PAUSE | WITH_ATTACH | LIVE},
};
static const struct rule vif_rules[] = {
	{"attach", 0},
	{"plug", WHEN_DETACHED | VM_STAYS | HOTPLUG},
	{"unplug", WHEN_ATTACHED | VM_STAYS | HOTPLUG},
};
static const struct rule vusb_rules[] = {
	{"attach", 0},
	{"plug", WHEN_DETACHED | VM_STAYS},
	{"unplug", WHEN_ATTACHED | VM_STAYS},
};
static const char *const vbd_advertised[] = {"attach",       "eject", "insert",  "plug", "unplug",
					     "unplug_force", "pause", "unpause", NULL};
static const char *const vif_advertised[] = {"attach", "plug", "unplug", NULL};

/* What both kinds of device have, so that the checks about the VM are written once. */
struct device {
	struct xn_db *db;
	const struct xn_row *row, *vm;
	const char *ref, *class_name, *comma, *self;
	const struct xn_value *current;
	bool attached, is_cd;
	int can_hotplug_field; /* of VM_guest_metrics */
};

static const struct rule *rule_named(const struct rule *rules, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(rules[i].name, name) == 0)
			return &rules[i];
	return NULL;
}

static int check_busy(const struct device *dev, unsigned checks, struct xn_error *err)
{
	for (size_t i = 0; i < xn_map_len(dev->current); i++) {
		const char *name = xn_value_string(xn_map_at(dev->current, i));

		if (dev->self && strcmp(dev->self, xn_map_key_at(dev->current, i)) == 0)
			continue;
		if (checks & WITH_PAUSE &&
		    (strcmp(name, "pause") == 0 || strcmp(name, "unpause") == 0))
			continue;
		if (checks & WITH_ATTACH && strcmp(name, "attach") == 0)
			continue;
		return xn_operation_busy(err, dev->class_name, dev->ref, dev->current, dev->self,
					 dev->comma);
	}
	return 0;
}

static bool vm_is(const struct device *dev, const char *state)
{
	return strcmp(xn_row_string(dev->vm, XN_VM_power_state), state) == 0;
}

static int check_attached(const struct device *dev, unsigned checks, struct xn_error *err)
{
	const char *state = xn_row_string(dev->vm, XN_VM_power_state);

	if (checks & LIVE && (vm_is(dev, "Halted") || vm_is(dev, "Suspended")))
		return xn_error_set(err, XN_ERR_VM_BAD_POWER_STATE, xn_row_ref(dev->vm), "running",
				    xn_power_state_lower(state));
	if (!(checks & (WHEN_ATTACHED | WHEN_DETACHED)))
		return 0;
	if (!vm_is(dev, "Running"))
		return xn_error_set(err, XN_ERR_VM_BAD_POWER_STATE, xn_row_ref(dev->vm), "running",
				    xn_power_state_lower(state));
	if (checks & WHEN_DETACHED && dev->attached)
		return xn_error_set(err, XN_ERR_DEVICE_ALREADY_ATTACHED, dev->ref);
	if (checks & WHEN_ATTACHED && !dev->attached)
		return xn_error_set(err, XN_ERR_DEVICE_ALREADY_DETACHED, dev->ref);
	return 0;
}

static int check_vm_stays(const struct device *dev, struct xn_error *err)
{
	static const char *const leaving[] = {"clean_shutdown", "hard_shutdown", "suspend",
					      "pause"};
	const struct xn_value *current = xn_row_get(dev->vm, XN_VM_current_operations);

	for (size_t i = 0; i < xn_map_len(current); i++)
		for (size_t j = 0; j < XN_ARRAY_SIZE(leaving); j++)
			if (strcmp(xn_value_string(xn_map_at(current, i)), leaving[j]) == 0)
				return xn_error_setf(
					err, XN_ERR_OPERATION_NOT_ALLOWED,
					"The VM is busy with %s; its devices cannot change.",
					leaving[j]);
	return 0;
}

static bool has_driver_version(const struct xn_row *guest)
{
	return xn_row_map_string(guest, XN_VM_guest_metrics_PV_drivers_version, "major") &&
	       xn_row_map_string(guest, XN_VM_guest_metrics_PV_drivers_version, "minor");
}

static int check_hotplug(const struct device *dev, struct xn_error *err)
{
	const struct xn_row *metrics = xn_row_follow(dev->db, dev->vm, XN_VM_metrics);
	const struct xn_row *guest = xn_row_follow(dev->db, dev->vm, XN_VM_guest_metrics);
	const char *can;

	if (!metrics ||
	    strcmp(xn_row_string(metrics, XN_VM_metrics_current_domain_type), "hvm") != 0)
		return 0;
	can = guest ? xn_row_string(guest, dev->can_hotplug_field) : "unspecified";
	if (strcmp(can, "no") == 0)
		return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
				    "The guest says that it cannot do this while it runs.");
	if (strcmp(can, "yes") != 0 &&
	    !(guest && (xn_row_bool(guest, XN_VM_guest_metrics_PV_drivers_detected) ||
			has_driver_version(guest))))
		return xn_error_set(err, XN_ERR_VM_MISSING_PV_DRIVERS, xn_row_ref(dev->vm));
	if (dev->is_cd)
		return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
				    "CD drives of HVM guests only take insert and eject.");
	return 0;
}

static int check_common(const struct device *dev, unsigned checks, struct xn_error *err)
{
	if (check_attached(dev, checks, err) < 0)
		return -1;
	if (checks & VM_STAYS && check_vm_stays(dev, err) < 0)
		return -1;
	if (checks & HOTPLUG && check_hotplug(dev, err) < 0)
		return -1;
	return 0;
}

/* ---- VBD ---- */

static int check_medium(const struct device *dev, unsigned checks, struct xn_error *err)
{
	bool empty = xn_row_bool(dev->row, XN_VBD_empty);

	if (checks & UNPLUGGABLE && !xn_row_bool(dev->row, XN_VBD_unpluggable))
		return xn_error_set(err, XN_ERR_VBD_NOT_UNPLUGGABLE, dev->ref);
	if (checks & REMOVABLE && !dev->is_cd)
		return xn_error_set(err, XN_ERR_VBD_NOT_REMOVABLE_MEDIA, dev->ref);
	if (checks & IF_FULL && empty)
		return xn_error_set(err, XN_ERR_VBD_IS_EMPTY, dev->ref);
	if (checks & IF_EMPTY && !empty)
		return xn_error_set(err, XN_ERR_VBD_NOT_EMPTY, dev->ref);
	return 0;
}

/* An operation on the VDI itself that a device must wait for; for that of a copy, see
 * check_not_copied(). */
static int check_disk_free(const struct xn_row *vdi, struct xn_error *err)
{
	const struct xn_value *current = xn_row_get(vdi, XN_VDI_current_operations);

	for (size_t i = 0; i < xn_map_len(current); i++) {
		const char *name = xn_value_string(xn_map_at(current, i));

		if (strcmp(name, "mirror") != 0 && strcmp(name, "copy") != 0)
			return xn_error_set(err, XN_ERR_OTHER_OPERATION_IN_PROGRESS, "VDI",
					    xn_row_ref(vdi), name, xn_map_key_at(current, i));
	}
	return 0;
}

static bool is_system_vm(const struct xn_row *vm)
{
	const char *yes = xn_row_map_string(vm, XN_VM_other_config, "is_system_domain");

	return yes && (strcmp(yes, "1") == 0 || strcmp(yes, "true") == 0);
}

/* Whether @vbd uses its disk now, in a way that counts against others. */
static bool uses_disk(struct xn_db *db, const struct xn_row *vbd)
{
	const struct xn_row *vm = xn_row_follow(db, vbd, XN_VBD_VM);

	if (!vm || strcmp(xn_row_string(vm, XN_VM_power_state), "Suspended") == 0 ||
	    is_system_vm(vm))
		return false;
	return xn_row_bool(vbd, XN_VBD_currently_attached) || xn_row_bool(vbd, XN_VBD_reserved) ||
	       xn_map_len(xn_row_get(vbd, XN_VBD_current_operations)) > 0;
}

/* Whoever reads the disk for a copy would copy half of what a guest writes meanwhile. */
static int check_not_copied(const struct xn_row *vdi, struct xn_error *err)
{
	const struct xn_value *current = xn_row_get(vdi, XN_VDI_current_operations);

	for (size_t i = 0; i < xn_map_len(current); i++)
		if (strcmp(xn_value_string(xn_map_at(current, i)), "copy") == 0)
			return xn_error_set(err, XN_ERR_OTHER_OPERATION_IN_PROGRESS, "VDI",
					    xn_row_ref(vdi), "copy", xn_map_key_at(current, i));
	return 0;
}

int xn_vbd_check_sharing(struct xn_db *db, const struct xn_row *vbd, const struct xn_row *vdi,
			 struct xn_error *err)
{
	bool writes = strcmp(xn_row_string(vbd, XN_VBD_mode), "RW") == 0;
	const struct xn_value *vbds = xn_row_get(vdi, XN_VDI_VBDs);
	const struct xn_row *vm = xn_row_follow(db, vbd, XN_VBD_VM);

	if (xn_row_bool(vbd, XN_VBD_currently_attached))
		return 0;
	for (size_t i = 0; !xn_row_bool(vdi, XN_VDI_sharable) && !(vm && is_system_vm(vm)) &&
			   i < xn_set_len(vbds);
	     i++) {
		const struct xn_row *other =
			xn_db_get(db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));

		if (!other || other == vbd || !uses_disk(db, other))
			continue;
		if (writes || strcmp(xn_row_string(other, XN_VBD_mode), "RW") == 0)
			return xn_error_set(err, XN_ERR_VDI_IN_USE, xn_row_ref(vdi));
	}
	if (writes && xn_row_bool(vdi, XN_VDI_read_only))
		return xn_error_set(err, XN_ERR_VDI_READONLY, xn_row_ref(vdi));
	return writes ? check_not_copied(vdi, err) : 0;
}

static int check_disk(const struct device *dev, unsigned checks, bool executing,
		      struct xn_error *err)
{
	const struct xn_row *vdi = xn_row_follow(dev->db, dev->row, XN_VBD_VDI);

	if (dev->is_cd && checks & REMOVABLE && vm_is(dev, "Suspended"))
		return xn_error_set(err, XN_ERR_VM_BAD_POWER_STATE, xn_row_ref(dev->vm),
				    "halted, running", "suspended");
	if (!vdi || xn_row_bool(dev->row, XN_VBD_empty))
		return 0;
	if (!xn_row_bool(vdi, XN_VDI_managed))
		return xn_error_set(err, XN_ERR_VDI_NOT_MANAGED, dev->ref);
	if (checks & DISK_FREE && check_disk_free(vdi, err) < 0)
		return -1;
	if (checks & DISK_SHARING && executing)
		return xn_vbd_check_sharing(dev->db, dev->row, vdi, err);
	return 0;
}

static int check_vbd(struct xn_db *db, const struct xn_row *row, const struct rule *rule,
		     const char *self, bool executing, struct xn_error *err)
{
	struct device dev = {
		.db = db,
		.row = row,
		.vm = xn_row_follow(db, row, XN_VBD_VM),
		.ref = xn_row_ref(row),
		.class_name = "VBD",
		.comma = ",",
		.self = self,
		.current = xn_row_get(row, XN_VBD_current_operations),
		.attached = xn_row_bool(row, XN_VBD_currently_attached) ||
			    xn_row_bool(row, XN_VBD_reserved),
		.is_cd = strcmp(xn_row_string(row, XN_VBD_type), "CD") == 0,
		.can_hotplug_field = XN_VM_guest_metrics_can_use_hotplug_vbd,
	};

	if (!dev.vm)
		return xn_error_set(err, XN_ERR_HANDLE_INVALID, "VM",
				    xn_row_string(row, XN_VBD_VM));
	if (check_busy(&dev, rule->checks, err) < 0 || check_medium(&dev, rule->checks, err) < 0 ||
	    check_common(&dev, rule->checks, err) < 0)
		return -1;
	return check_disk(&dev, rule->checks, executing, err);
}

static int refuse_vbd(struct xn_db *db, struct xn_row *row, const char *operation, const char *self,
		      struct xn_error *err)
{
	const struct rule *rule = rule_named(vbd_rules, XN_ARRAY_SIZE(vbd_rules), operation);

	if (!rule)
		return xn_error_set(err, XN_ERR_INTERNAL_ERROR, operation);
	return check_vbd(db, row, rule, self, true, err);
}

static uint64_t allowed_vbd(struct xn_db *db, struct xn_row *row)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < XN_ARRAY_SIZE(vbd_rules); i++)
		if (check_vbd(db, row, &vbd_rules[i], NULL, false, NULL) == 0)
			mask |= (uint64_t)1 << i;
	return mask;
}

/* What may be done with a disk depends on who uses it. */
void xn_vbd_disk(struct xn_db *db, struct xn_row *vbd, void (*visit)(struct xn_row *row, void *arg),
		 void *arg)
{
	struct xn_row *vdi = xn_row_follow(db, vbd, XN_VBD_VDI);

	if (vdi)
		visit(vdi, arg);
}

const struct xn_operation_rules xn_vbd_rules = {
	.class_id = XN_CLASS_VBD,
	.current_field = XN_VBD_current_operations,
	.allowed_field = XN_VBD_allowed_operations,
	.advertised = vbd_advertised,
	.refuse = refuse_vbd,
	.allowed = allowed_vbd,
	.dependents = xn_vbd_disk,
};

/* ---- VIF ---- */

/* A network of virtual functions: what is on it is passed through and cannot come and go. */
static bool is_on_sriov(struct xn_db *db, const struct xn_row *vif)
{
	const struct xn_row *network = xn_row_follow(db, vif, XN_VIF_network);
	const struct xn_value *pifs = network ? xn_row_get(network, XN_network_PIFs) : NULL;

	for (size_t i = 0; pifs && i < xn_set_len(pifs); i++) {
		const struct xn_row *pif =
			xn_db_get(db, XN_CLASS_PIF, xn_value_string(xn_set_at(pifs, i)));

		if (pif && xn_set_len(xn_row_get(pif, XN_PIF_sriov_logical_PIF_of)) > 0)
			return true;
	}
	return false;
}

static int refuse_vif(struct xn_db *db, struct xn_row *row, const char *operation, const char *self,
		      struct xn_error *err)
{
	const struct rule *rule = rule_named(vif_rules, XN_ARRAY_SIZE(vif_rules), operation);
	struct device dev = {
		.db = db,
		.row = row,
		.vm = xn_row_follow(db, row, XN_VIF_VM),
		.ref = xn_row_ref(row),
		.class_name = "VIF",
		.comma = "; ",
		.self = self,
		.current = xn_row_get(row, XN_VIF_current_operations),
		.attached = xn_row_bool(row, XN_VIF_currently_attached) ||
			    xn_row_bool(row, XN_VIF_reserved),
		.can_hotplug_field = XN_VM_guest_metrics_can_use_hotplug_vif,
	};

	if (!rule || !dev.vm)
		return xn_error_set(err, XN_ERR_HANDLE_INVALID, "VM",
				    xn_row_string(row, XN_VIF_VM));
	if (check_busy(&dev, rule->checks, err) < 0)
		return -1;
	if (rule->checks & WHEN_DETACHED && xn_row_bool(dev.vm, XN_VM_is_control_domain) &&
	    xn_row_int(dev.vm, XN_VM_domid) == 0)
		return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
				    "A VIF of domain 0 cannot be plugged.");
	if (rule->checks & (WHEN_DETACHED | WHEN_ATTACHED) && is_on_sriov(db, row))
		return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
				    "A VIF on an SR-IOV network only comes and goes with its VM.");
	return check_common(&dev, rule->checks, err);
}

const struct xn_operation_rules xn_vif_rules = {
	.class_id = XN_CLASS_VIF,
	.current_field = XN_VIF_current_operations,
	.allowed_field = XN_VIF_allowed_operations,
	.advertised = vif_advertised,
	.refuse = refuse_vif,
};

/* ---- VUSB ---- */

static int refuse_vusb(struct xn_db *db, struct xn_row *row, const char *operation,
		       const char *self, struct xn_error *err)
{
	const struct rule *rule = rule_named(vusb_rules, XN_ARRAY_SIZE(vusb_rules), operation);
	struct device dev = {
		.db = db,
		.row = row,
		.vm = xn_row_follow(db, row, XN_VUSB_VM),
		.ref = xn_row_ref(row),
		.class_name = "VUSB",
		.comma = "; ",
		.self = self,
		.current = xn_row_get(row, XN_VUSB_current_operations),
		.attached = xn_row_bool(row, XN_VUSB_currently_attached),
	};

	if (!rule || !dev.vm)
		return xn_error_set(err, XN_ERR_HANDLE_INVALID, "VM",
				    xn_row_string(row, XN_VUSB_VM));
	if (check_busy(&dev, rule->checks, err) < 0)
		return -1;
	return check_common(&dev, rule->checks, err);
}

const struct xn_operation_rules xn_vusb_rules = {
	.class_id = XN_CLASS_VUSB,
	.current_field = XN_VUSB_current_operations,
	.allowed_field = XN_VUSB_allowed_operations,
	.advertised = vif_advertised,
	.refuse = refuse_vusb,
};

/* ---- VTPM ---- */

/* Clients are told (no error wanted) only of a VM that is down; a suspended one would do, too. */
static int refuse_vtpm(struct xn_db *db, struct xn_row *row, const char *operation,
		       const char *self, struct xn_error *err)
{
	const struct xn_row *vm = xn_row_follow(db, row, XN_VTPM_VM);
	const char *state = vm ? xn_row_string(vm, XN_VM_power_state) : "";

	if (!vm)
		return xn_error_set(err, XN_ERR_HANDLE_INVALID, "VM",
				    xn_row_string(row, XN_VTPM_VM));
	if (strcmp(state, "Halted") == 0 || (err && strcmp(state, "Suspended") == 0))
		return 0;
	return xn_error_set(err, XN_ERR_VM_BAD_POWER_STATE, xn_row_ref(vm), "halted;suspended",
			    xn_power_state_lower(state));
}

const struct xn_operation_rules xn_vtpm_rules = {
	.class_id = XN_CLASS_VTPM,
	.current_field = XN_VTPM_current_operations,
	.allowed_field = XN_VTPM_allowed_operations,
	.advertised = (const char *const[]){"destroy", NULL},
	.refuse = refuse_vtpm,
};
