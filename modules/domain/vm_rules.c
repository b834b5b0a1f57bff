/*
 * Which operation is possible on a VM when: one row an operation, checked in the order that clients
 * know (the first reason found is the one they see). Registered with modules/operation.
 */
#include "modules/domain/domain_internal.h"

enum { H = 1, P = 2, S = 4, R = 8, ANY = H | P | S | R, CLONE = 16 };

/* What may already run beside it. */
enum beside {
	ALONE,
	COPIES,       /* any of clone, copy, export */
	SNAPSHOTS,    /* any of snapshot, checkpoint */
	SNAPSHOT,     /* the same, or exactly snapshot_with_quiesce */
	BOOT_RECORDS, /* get_boot_record */
	NO_HARD_SHUTDOWN,
	NO_HARD_REBOOT, /* neither hard_shutdown nor hard_reboot */
	MIGRATION,      /* exactly migrate_send */
};

enum guest_feature { NOTHING, CAN_SUSPEND, CAN_SHUT_DOWN, CAN_REBOOT, CAN_HOTPLUG_VCPUS };

enum {
	TEMPLATE = 1 << 0,        /* also on templates */
	OWN_TEMPLATE = 1 << 1,    /* also on templates that are not default ones */
	SNAPSHOT_TOO = 1 << 2,    /* also on snapshots */
	CONTROL = 1 << 3,         /* also on control domains */
	CONTROL_RUNNING = 1 << 4, /* on control domains also while Running */
	NOT_DOM0 = 1 << 5,
	ONLY_TEMPLATE = 1 << 6,
	ONLY_SNAPSHOT = 1 << 7,
	MOBILE = 1 << 8, /* needs a VM that may be moved or saved */
	NO_NESTED = 1 << 9,
	NO_QUIESCE = 1 << 10,  /* always refused */
	KEEPS_DISKS = 1 << 11, /* not with disks that are reset on boot */
	NO_PCI = 1 << 12,
	NO_VGPU = 1 << 13,
	NO_VUSB = 1 << 14,
	UNGROUPED = 1 << 15, /* not in an appliance, policy or schedule */
	SYSTEM_DOMAIN = 1 << 16,
	NO_VTPM = 1 << 17,
	HIDDEN = 1 << 18,             /* never listed in allowed_operations */
	UNNAMED = 1 << 19,            /* has no name in error parameters */
	NO_UPGRADE = 1 << 20,         /* not while hosts of the pool are upgraded in turn */
	KEEPS_CACHED_DISKS = 1 << 21, /* not with disks that are reset on boot and cached */
	SAVES = MOBILE | NO_PCI | NO_VGPU | NO_VUSB,
	ANY_KIND = TEMPLATE | SNAPSHOT_TOO | CONTROL,
};

struct rule {
	const char *name;
	unsigned states;
	enum beside beside;
	unsigned flags;
	enum guest_feature needs;
	const char *error_name; /* when it differs */
};

static const struct rule rules[] = {
	{"snapshot", ANY, SNAPSHOT, KEEPS_DISKS | NO_VUSB | NO_UPGRADE},
	{"clone", H | CLONE, COPIES, TEMPLATE | SNAPSHOT_TOO},
	{"copy", H | CLONE, COPIES, TEMPLATE | SNAPSHOT_TOO},
	{"create_template", H | S, ALONE, HIDDEN | UNNAMED | NO_UPGRADE},
	{"revert", ANY, ALONE, SNAPSHOT_TOO | ONLY_SNAPSHOT | NO_UPGRADE},
	{"checkpoint", P | S | R, SNAPSHOTS, SAVES | KEEPS_DISKS | NO_UPGRADE, CAN_SUSPEND},
	{"snapshot_with_quiesce", R, ALONE, NO_QUIESCE | NO_UPGRADE},
	{"provision", H, ALONE, TEMPLATE | ONLY_TEMPLATE},
	{"start", H, ALONE, CONTROL},
	{"start_on", H, ALONE, CONTROL},
	{"pause", R, ALONE, 0},
	{"unpause", P, ALONE, 0},
	{"clean_shutdown", R, MIGRATION, 0, CAN_SHUT_DOWN},
	{"clean_reboot", R, MIGRATION, 0, CAN_REBOOT},
	{"hard_shutdown", P | S | R, NO_HARD_SHUTDOWN, SNAPSHOT_TOO},
	{"power_state_reset", ANY, ALONE, HIDDEN},
	{"hard_reboot", P | R, NO_HARD_REBOOT, 0},
	{"suspend", R, ALONE, SAVES | KEEPS_DISKS, CAN_SUSPEND},
	{"csvm", S, ALONE, HIDDEN},
	{"resume", S, ALONE, 0},
	{"resume_on", S, ALONE, 0},
	{"pool_migrate", R, ALONE, SAVES | KEEPS_CACHED_DISKS, CAN_SUSPEND},
	{"migrate_send", H | S | R, ALONE, SAVES | OWN_TEMPLATE, CAN_SUSPEND},
	{"get_boot_record", P | S | R, BOOT_RECORDS, HIDDEN},
	{"send_sysrq", R, ALONE, HIDDEN},
	{"send_trigger", R, ALONE, HIDDEN},
	{"query_services", ANY, ALONE, SYSTEM_DOMAIN | HIDDEN | UNNAMED | NO_UPGRADE},
	{"shutdown", P | S | R, ALONE, HIDDEN | NO_UPGRADE},
	{"call_plugin", R, ALONE, HIDDEN | NO_UPGRADE},
	{"changing_memory_live", R, ALONE, CONTROL | HIDDEN},
	{"awaiting_memory_live", R, ALONE, CONTROL | HIDDEN | NO_UPGRADE},
	{"changing_dynamic_range", H | R, ALONE, TEMPLATE | CONTROL | NO_NESTED | NO_UPGRADE},
	{"changing_static_range", H, ALONE, TEMPLATE | CONTROL | CONTROL_RUNNING | NO_UPGRADE},
	{"changing_memory_limits", H, ALONE,
	 TEMPLATE | CONTROL | CONTROL_RUNNING | HIDDEN | UNNAMED | NO_UPGRADE},
	{"changing_shadow_memory", H, ALONE, TEMPLATE | NO_UPGRADE},
	{"changing_shadow_memory_live", R, ALONE, HIDDEN},
	{"changing_VCPUs", H, ALONE,
	 TEMPLATE | CONTROL | CONTROL_RUNNING | NOT_DOM0 | HIDDEN | UNNAMED | NO_UPGRADE},
	{"changing_VCPUs_live", R, ALONE, 0, CAN_HOTPLUG_VCPUS},
	{"changing_NVRAM", H, ALONE, TEMPLATE | NO_UPGRADE},
	{"assert_operation_valid", ANY, ALONE, HIDDEN, NOTHING, "assertoperationvalid"},
	{"data_source_op", R, ALONE, CONTROL | HIDDEN | NO_UPGRADE, NOTHING, "data_sources_op"},
	{"update_allowed_operations", ANY, ALONE, HIDDEN},
	{"make_into_template", H, ALONE, UNGROUPED},
	{"import", 0, ALONE, HIDDEN},
	{"export", H | S, COPIES, TEMPLATE | SNAPSHOT_TOO},
	{"metadata_export", ANY, MIGRATION, ANY_KIND | NO_UPGRADE},
	{"reverting", ANY, ALONE, HIDDEN | NO_UPGRADE},
	{"destroy", H | S, ALONE, OWN_TEMPLATE | SNAPSHOT_TOO | CONTROL | NOT_DOM0},
	{"create_vtpm", H, ALONE, NO_VTPM | NO_UPGRADE},
	{"sysprep", R, ALONE, NO_UPGRADE},
};
_Static_assert(XN_ARRAY_SIZE(rules) == 50, "one row for each value of enum vm_operations");

static const struct rule *rule_named(const char *name)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(rules); i++)
		if (strcmp(rules[i].name, name) == 0)
			return &rules[i];
	return NULL;
}

/* What the checks look at; read once for all operations of a row. */
struct facts {
	struct xn_db *db;
	const struct xn_row *vm;
	const char *ref, *self;
	unsigned state;
	bool is_template, is_default, is_snapshot, is_control, is_dom0;
	bool can_clone_suspended, upgrading;
	const struct xn_value *current, *blocked;
	size_t n_current; /* without self's */
	bool details_known;
	bool immobile, nested_virt, has_drivers, disks_reset, cached_disks_reset;
	bool can_suspend, can_shut_down, can_reboot, can_hotplug_vcpus;
	const char *cannot_suspend; /* the guest's reason, or NULL */
};

static const struct {
	unsigned bit;
	const char *name, *lower;
} states[] = {
	{H, "Halted", "halted"},
	{P, "Paused", "paused"},
	{S, "Suspended", "suspended"},
	{R, "Running", "running"},
};

static unsigned state_bit(const char *name)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(states); i++)
		if (strcmp(states[i].name, name) == 0)
			return states[i].bit;
	return 0;
}

const char *xn_power_state_lower(const char *name)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(states); i++)
		if (strcmp(states[i].name, name) == 0)
			return states[i].lower;
	return "unknown";
}

static bool is_yes(const char *text)
{
	return text && (strcmp(text, "1") == 0 || strcmp(text, "true") == 0);
}

static void learn(struct facts *f, struct xn_db *db, const struct xn_row *vm, const char *self)
{
	struct xn_row *pool;

	*f = (struct facts){.db = db, .vm = vm, .ref = xn_row_ref(vm), .self = self};
	f->state = state_bit(xn_row_string(vm, XN_VM_power_state));
	f->is_template = xn_row_bool(vm, XN_VM_is_a_template);
	f->is_snapshot = xn_row_bool(vm, XN_VM_is_a_snapshot);
	f->is_default = xn_row_bool(vm, XN_VM_is_default_template) ||
			is_yes(xn_row_map_string(vm, XN_VM_other_config, "default_template"));
	f->is_control = xn_row_bool(vm, XN_VM_is_control_domain);
	f->is_dom0 = f->is_control && xn_row_int(vm, XN_VM_domid) == 0;
	f->current = xn_row_get(vm, XN_VM_current_operations);
	f->blocked = xn_row_get(vm, XN_VM_blocked_operations);
	f->upgrading = xn_pool_is_upgrading(db);
	f->n_current = xn_map_len(f->current);
	if (self && xn_map_get(f->current, self))
		f->n_current--;
	pool = xn_db_first(db, XN_CLASS_pool);
	f->can_clone_suspended =
		f->is_snapshot || (pool && is_yes(xn_row_map_string(pool, XN_pool_other_config,
								    "allow_clone_suspended_vm")));
}

static bool is_number(const char *text)
{
	return text && *text && strspn(text, "0123456789") == strlen(text);
}

static void learn_guest(struct facts *f, const struct xn_row *metrics, const struct xn_row *guest)
{
	static const char *const pv_types[] = {"pv", "pvh", "pv_in_pvh"};

	for (unsigned i = 0; metrics && i < XN_ARRAY_SIZE(pv_types); i++)
		if (strcmp(xn_row_string(metrics, XN_VM_metrics_current_domain_type),
			   pv_types[i]) == 0)
			f->has_drivers = true;
	if (!guest)
		return;
	if (is_number(xn_row_map_string(guest, XN_VM_guest_metrics_PV_drivers_version, "major")) &&
	    is_number(xn_row_map_string(guest, XN_VM_guest_metrics_PV_drivers_version, "minor")))
		f->has_drivers = true;
#define FEATURE(name) is_yes(xn_row_map_string(guest, XN_VM_guest_metrics_other, name))
	f->can_suspend = FEATURE("feature-suspend");
	f->can_shut_down = FEATURE("feature-shutdown") || FEATURE("feature-poweroff");
	f->can_reboot = FEATURE("feature-shutdown") || FEATURE("feature-reboot");
	f->can_hotplug_vcpus = FEATURE("feature-vcpu-hotplug");
#undef FEATURE
	f->cannot_suspend =
		xn_row_map_string(guest, XN_VM_guest_metrics_other, "data-cant-suspend-reason");
}

static void learn_disks(struct facts *f)
{
	const struct xn_value *vbds = xn_row_get(f->vm, XN_VM_VBDs);

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		struct xn_row *vbd =
			xn_db_get(f->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));
		struct xn_row *vdi = vbd ? xn_row_follow(f->db, vbd, XN_VBD_VDI) : NULL;
		const char *on_boot =
			vdi ? xn_row_map_string(vdi, XN_VDI_sm_config, "on_boot") : NULL;

		if (!on_boot || strcmp(on_boot, "reset") != 0)
			continue;
		f->disks_reset = true;
		if (is_yes(xn_row_map_string(vdi, XN_VDI_sm_config, "caching")))
			f->cached_disks_reset = true;
	}
}

/* The facts of other rows, which few checks need. */
static void learn_details(struct facts *f)
{
	const struct xn_row *metrics = xn_row_follow(f->db, f->vm, XN_VM_metrics);
	const struct xn_row *guest = xn_row_follow(f->db, f->vm, XN_VM_guest_metrics);

	if (f->details_known)
		return;
	f->details_known = true;
	if (metrics) {
		f->nested_virt = xn_row_bool(metrics, XN_VM_metrics_nested_virt);
		f->immobile = f->nested_virt || xn_row_bool(metrics, XN_VM_metrics_nomigrate);
	} else {
		f->nested_virt = is_yes(xn_row_map_string(f->vm, XN_VM_platform, "nested-virt"));
		f->immobile = f->nested_virt ||
			      is_yes(xn_row_map_string(f->vm, XN_VM_platform, "nomigrate"));
	}
	if (f->state & (R | P))
		learn_guest(f, metrics, guest);
	learn_disks(f);
}

/* ---- the checks, in their order ---- */

static int check_power_state(const struct facts *f, const struct rule *rule, struct xn_error *err)
{
	unsigned wanted = rule->states & ANY;
	char list[64] = "";

	if (rule->flags & CONTROL_RUNNING && f->is_control)
		wanted |= R;
	if (rule->states & CLONE && f->can_clone_suspended)
		wanted |= S;
	if (f->state & wanted)
		return 0;
	for (unsigned i = 0; err && i < XN_ARRAY_SIZE(states); i++)
		if (wanted & states[i].bit) {
			if (list[0])
				strcat(list, ", ");
			strcat(list, states[i].lower);
		}
	return xn_error_set(err, XN_ERR_VM_BAD_POWER_STATE, f->ref, list,
			    xn_power_state_lower(xn_row_string(f->vm, XN_VM_power_state)));
}

/* How many of the operations now running on the VM are among @names (NULL-terminated). */
static size_t running_among(const struct facts *f, const char *const *names)
{
	size_t n = 0;

	for (size_t i = 0; i < xn_map_len(f->current); i++) {
		const char *name = xn_value_string(xn_map_at(f->current, i));

		if (f->self && strcmp(f->self, xn_map_key_at(f->current, i)) == 0)
			continue;
		for (const char *const *at = names; *at; at++)
			if (strcmp(*at, name) == 0)
				n++;
	}
	return n;
}

static bool goes_beside(const struct facts *f, enum beside beside)
{
	static const char *const copies[] = {"clone", "copy", "export", NULL};
	static const char *const snapshots[] = {"snapshot", "checkpoint", NULL};
	static const char *const quiesce[] = {"snapshot_with_quiesce", NULL};
	static const char *const boot_record[] = {"get_boot_record", NULL};
	static const char *const hard[] = {"hard_shutdown", "hard_reboot", NULL};
	static const char *const migration[] = {"migrate_send", NULL};

	switch (beside) {
	case ALONE:
		return false;
	case COPIES:
		return running_among(f, copies) == f->n_current;
	case SNAPSHOT:
		if (f->n_current == 1 && running_among(f, quiesce) == 1)
			return true;
		/* fall through */
	case SNAPSHOTS:
		return running_among(f, snapshots) == f->n_current;
	case BOOT_RECORDS:
		return running_among(f, boot_record) == f->n_current;
	case NO_HARD_SHUTDOWN:
		return running_among(f, (const char *const[]){"hard_shutdown", NULL}) == 0;
	case NO_HARD_REBOOT:
		return running_among(f, hard) == 0;
	case MIGRATION:
		return f->n_current == 1 && running_among(f, migration) == 1;
	}
	return false;
}

/* How errors spell the operation. */
static const char *spelling(const struct rule *rule)
{
	return rule->flags & UNNAMED ? "(unknown operation)"
	       : rule->error_name    ? rule->error_name
				     : rule->name;
}

static int refuse_busy(const struct facts *f, struct xn_error *err)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *spelled = NULL;

	if (!err)
		return -1;
	spelled = xn_map_new();
	for (size_t i = 0; i < xn_map_len(f->current); i++) {
		const char *name = xn_value_string(xn_map_at(f->current, i));
		const struct rule *rule = rule_named(name);

		xn_map_put_string(&spelled, xn_map_key_at(f->current, i),
				  rule ? spelling(rule) : name);
	}
	return xn_operation_busy(err, "VM", f->ref, spelled, f->self, ",");
}

static int check_kind(const struct facts *f, const struct rule *rule, struct xn_error *err)
{
	const char *name = spelling(rule);

	if (f->is_template && !f->is_snapshot && !(rule->flags & TEMPLATE) &&
	    (!(rule->flags & OWN_TEMPLATE) || f->is_default))
		return xn_error_set(err, XN_ERR_VM_IS_TEMPLATE, f->ref, name);
	if (f->is_snapshot && !(rule->flags & SNAPSHOT_TOO))
		return xn_error_set(err, XN_ERR_VM_IS_SNAPSHOT, f->ref, name);
	if (rule->flags & ONLY_TEMPLATE && !f->is_template)
		return xn_error_set(err, XN_ERR_PROVISION_ONLY_ALLOWED_ON_TEMPLATE);
	if (rule->flags & ONLY_SNAPSHOT && !f->is_snapshot)
		return xn_error_set(err, XN_ERR_REVERT_ONLY_ALLOWED_ON_SNAPSHOT);
	return 0;
}

static int check_place(struct facts *f, const struct rule *rule, struct xn_error *err)
{
	if (rule->flags & MOBILE) {
		learn_details(f);
		if (f->immobile)
			return xn_error_set(err, XN_ERR_VM_IS_IMMOBILE, f->ref);
	}
	if (rule->flags & NO_NESTED) {
		learn_details(f);
		if (f->nested_virt)
			return xn_error_set(err, XN_ERR_VM_IS_USING_NESTED_VIRT, f->ref);
	}
	if (rule->flags & NOT_DOM0 && f->is_dom0)
		return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
				    "Domain 0 cannot be changed in this way.");
	if (!(rule->flags & CONTROL) && f->is_control)
		return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
				    "A control domain does not allow this operation.");
	return 0;
}

static int check_guest(struct facts *f, const struct rule *rule, struct xn_error *err)
{
	bool can = true;

	if (rule->needs == NOTHING || !(f->state & (R | P)))
		return 0;
	learn_details(f);
	if (rule->needs == CAN_SUSPEND && f->cannot_suspend)
		return xn_error_set(err, XN_ERR_VM_NON_SUSPENDABLE, f->ref, f->cannot_suspend);
	if (f->has_drivers)
		return 0;
	switch (rule->needs) {
	case NOTHING:
		break;
	case CAN_SUSPEND:
		can = f->can_suspend;
		break;
	case CAN_SHUT_DOWN:
		can = f->can_shut_down;
		break;
	case CAN_REBOOT:
		can = f->can_reboot;
		break;
	case CAN_HOTPLUG_VCPUS:
		can = f->can_hotplug_vcpus;
		break;
	}
	return can ? 0 : xn_error_set(err, XN_ERR_VM_LACKS_FEATURE, f->ref);
}

static bool is_kind_of(const struct facts *f, const struct xn_row *vgpu, const char *implementation)
{
	const struct xn_row *type = xn_row_follow(f->db, vgpu, XN_VGPU_type);

	return type &&
	       strcmp(xn_row_string(type, XN_VGPU_type_implementation), implementation) == 0;
}

/* Its driver can save what is in it. */
static bool is_suspendable(const struct facts *f, const struct xn_row *vgpu)
{
	const struct xn_row *pgpu = xn_row_follow(f->db, vgpu, XN_VGPU_resident_on);

	return (is_kind_of(f, vgpu, "nvidia") || is_kind_of(f, vgpu, "nvidia_sriov")) && pgpu &&
	       xn_row_map_string(pgpu, XN_PGPU_compatibility_metadata, "nvidia");
}

static const struct xn_row *vgpu_at(const struct facts *f, size_t i)
{
	return xn_db_get(f->db, XN_CLASS_VGPU,
			 xn_value_string(xn_set_at(xn_row_get(f->vm, XN_VM_VGPUs), i)));
}

static bool has_rigid_vgpu(const struct facts *f)
{
	for (size_t i = 0; i < xn_set_len(xn_row_get(f->vm, XN_VM_VGPUs)); i++)
		if (vgpu_at(f, i) && !is_suspendable(f, vgpu_at(f, i)))
			return true;
	return false;
}

/* A device that is passed through as it is, not as part of a virtual GPU. */
static bool has_pci(const struct facts *f)
{
	const struct xn_value *pcis = xn_row_get(f->vm, XN_VM_attached_PCIs);

	for (size_t i = 0; i < xn_set_len(pcis); i++) {
		bool is_vgpu = false;

		for (size_t k = 0; k < xn_set_len(xn_row_get(f->vm, XN_VM_VGPUs)); k++) {
			const struct xn_row *vgpu = vgpu_at(f, k);

			if (vgpu && is_kind_of(f, vgpu, "nvidia_sriov") &&
			    strcmp(xn_row_string(vgpu, XN_VGPU_PCI),
				   xn_value_string(xn_set_at(pcis, i))) == 0)
				is_vgpu = true;
		}
		if (!is_vgpu)
			return true;
	}
	return false;
}

static int check_devices(struct facts *f, const struct rule *rule, struct xn_error *err)
{
	bool exempt = (f->state == H && strcmp(rule->name, "migrate_send") == 0) ||
		      (f->state == S && strcmp(rule->name, "checkpoint") == 0);

	if (rule->flags & NO_QUIESCE)
		return xn_error_set(err, XN_ERR_VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED, f->ref);
	if (rule->flags & (KEEPS_DISKS | KEEPS_CACHED_DISKS)) {
		learn_details(f);
		if (rule->flags & KEEPS_DISKS ? f->disks_reset : f->cached_disks_reset)
			return xn_error_set(err,
					    XN_ERR_VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION);
	}
	if (rule->flags & NO_PCI && has_pci(f))
		return xn_error_set(err, XN_ERR_VM_HAS_PCI_ATTACHED, f->ref);
	if (rule->flags & NO_VGPU && !exempt && has_rigid_vgpu(f))
		return xn_error_set(err, XN_ERR_VM_HAS_VGPU, f->ref);
	if (rule->flags & NO_VUSB && xn_set_len(xn_row_get(f->vm, XN_VM_VUSBs)) > 0)
		return xn_error_set(err, XN_ERR_VM_HAS_VUSBS, f->ref);
	return 0;
}

static int check_ties(const struct facts *f, const struct rule *rule, struct xn_error *err)
{
	static const struct {
		int field;
		const char *code;
	} groups[] = {
		{XN_VM_appliance, XN_ERR_VM_IS_PART_OF_AN_APPLIANCE},
		{XN_VM_protection_policy, XN_ERR_VM_ASSIGNED_TO_PROTECTION_POLICY},
		{XN_VM_snapshot_schedule, XN_ERR_VM_ASSIGNED_TO_SNAPSHOT_SCHEDULE},
	};
	size_t vtpms = xn_set_len(xn_row_get(f->vm, XN_VM_VTPMs));

	for (unsigned i = 0; rule->flags & UNGROUPED && i < XN_ARRAY_SIZE(groups); i++)
		if (xn_row_follow(f->db, f->vm, groups[i].field))
			return xn_error_set(err, groups[i].code, f->ref,
					    xn_row_string(f->vm, groups[i].field));
	if (rule->flags & SYSTEM_DOMAIN &&
	    !is_yes(xn_row_map_string(f->vm, XN_VM_other_config, "is_system_domain")))
		return xn_error_set(err, XN_ERR_NOT_SYSTEM_DOMAIN, f->ref);
	if (rule->flags & NO_UPGRADE && f->upgrading)
		return xn_error_set(err, XN_ERR_NOT_SUPPORTED_DURING_UPGRADE);
	if (rule->flags & NO_VTPM && vtpms > 0)
		return xn_error_setf(err, XN_ERR_VTPM_MAX_AMOUNT_REACHED, "%zu", vtpms);
	return 0;
}

static int check(struct facts *f, const struct rule *rule, struct xn_error *err)
{
	const char *why = xn_map_get_string(f->blocked, rule->name);

	if (why)
		return xn_error_set(err, XN_ERR_OPERATION_BLOCKED, f->ref, why);
	if (check_power_state(f, rule, err) < 0)
		return -1;
	if (f->n_current > 0 && !goes_beside(f, rule->beside))
		return refuse_busy(f, err);
	if (check_kind(f, rule, err) < 0 || check_place(f, rule, err) < 0 ||
	    check_guest(f, rule, err) < 0 || check_devices(f, rule, err) < 0)
		return -1;
	return check_ties(f, rule, err);
}

/* ---- registration ---- */

static int refuse(struct xn_db *db, struct xn_row *row, const char *operation, const char *self,
		  struct xn_error *err)
{
	const struct rule *rule = rule_named(operation);
	struct facts f;

	if (!rule)
		return xn_error_set(err, XN_ERR_INTERNAL_ERROR, operation);
	learn(&f, db, row, self);
	return check(&f, rule, err);
}

/* In the order of `advertised` below. */
static uint64_t allowed(struct xn_db *db, struct xn_row *row)
{
	struct facts f;
	uint64_t mask = 0;
	unsigned bit = 0;

	learn(&f, db, row, NULL);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(rules); i++) {
		if (rules[i].flags & HIDDEN)
			continue;
		if (check(&f, &rules[i], NULL) == 0)
			mask |= (uint64_t)1 << bit;
		bit++;
	}
	return mask;
}

/* The devices, the disks behind them, and the appliance: all look at the VM's state. */
static void devices(struct xn_db *db, struct xn_row *vm,
		    void (*visit)(struct xn_row *row, void *arg), void *arg)
{
	struct xn_value *vbds XN_CLEANUP(xn_value_unref_p) =
		xn_value_ref(xn_row_get(vm, XN_VM_VBDs));
	struct xn_value *vifs XN_CLEANUP(xn_value_unref_p) =
		xn_value_ref(xn_row_get(vm, XN_VM_VIFs));
	struct xn_row *appliance = xn_row_follow(db, vm, XN_VM_appliance);

	if (appliance)
		visit(appliance, arg);
	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		struct xn_row *vbd =
			xn_db_get(db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));
		struct xn_row *vdi = vbd ? xn_row_follow(db, vbd, XN_VBD_VDI) : NULL;

		if (vbd)
			visit(vbd, arg);
		if (vdi)
			visit(vdi, arg);
	}
	for (size_t i = 0; i < xn_set_len(vifs); i++) {
		struct xn_row *vif =
			xn_db_get(db, XN_CLASS_VIF, xn_value_string(xn_set_at(vifs, i)));

		if (vif)
			visit(vif, arg);
	}
}

static const char *const urgent[] = {"hard_shutdown", "hard_reboot", NULL};

/* The rows of `rules` that are not HIDDEN, in their order. */
static const char *const advertised[] = {
	"snapshot",
	"clone",
	"copy",
	"revert",
	"checkpoint",
	"snapshot_with_quiesce",
	"provision",
	"start",
	"start_on",
	"pause",
	"unpause",
	"clean_shutdown",
	"clean_reboot",
	"hard_shutdown",
	"hard_reboot",
	"suspend",
	"resume",
	"resume_on",
	"pool_migrate",
	"migrate_send",
	"changing_dynamic_range",
	"changing_static_range",
	"changing_shadow_memory",
	"changing_VCPUs_live",
	"changing_NVRAM",
	"make_into_template",
	"export",
	"metadata_export",
	"destroy",
	"create_vtpm",
	"sysprep",
	NULL,
};

const struct xn_operation_rules xn_vm_rules = {
	.class_id = XN_CLASS_VM,
	.current_field = XN_VM_current_operations,
	.allowed_field = XN_VM_allowed_operations,
	.advertised = advertised,
	.urgent = urgent,
	.refuse = refuse,
	.allowed = allowed,
	.dependents = devices,
};
