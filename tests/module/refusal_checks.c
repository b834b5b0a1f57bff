/* See refusals.h: the words of the tables, in the order of the classes. */
#include "tests/module/refusals.h"

#include "core/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char task_a[] = "OpaqueRef:aaaaaaaa-0000-4000-8000-000000000000";
static const char task_b[] = "OpaqueRef:bbbbbbbb-0000-4000-8000-000000000000";

/* ---- scenes ---- */

/* @json: an object's text, with ' for ". */
struct xn_row *make_row(struct scene *s, int class_id, const char *json)
{
	char *text = xn_strdup(json);
	struct xn_value *fields;
	struct xn_row *row;

	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	assert_int_equal(xn_json_parse(text, strlen(text), &fields, NULL), 0);
	row = xn_db_create(s->db, class_id, NULL, fields);
	xn_value_unref(fields);
	free(text);
	assert_true(s->n_made < MAX_MADE);
	s->made[s->n_made++] = row;
	return row;
}

static struct xn_row *make_rowf(struct scene *s, int class_id, const char *fmt, ...)
	XN_PRINTF(3, 4);
static struct xn_row *make_rowf(struct scene *s, int class_id, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return make_row(s, class_id, text);
}

static void make_devices(struct scene *s)
{
	const char *vm = xn_row_ref(s->vm);

	s->sm = make_row(s, XN_CLASS_SM,
			 "{'type':'table','features':{'VDI_CLONE':1,'VDI_CREATE':1,'VDI_DELETE':1,"
			 "'VDI_CONFIG_CBT':1,'VDI_GENERATE_CONFIG':1,'VDI_INTRODUCE':1,"
			 "'VDI_MIRROR':1,'VDI_RESET_ON_BOOT':1,'VDI_RESIZE':1,"
			 "'VDI_RESIZE_ONLINE':1,'VDI_REVERT':1,'VDI_SNAPSHOT':1,'VDI_UPDATE':1,"
			 "'SR_UPDATE':1}}");
	s->sr = make_row(s, XN_CLASS_SR, "{'type':'table'}");
	s->host = make_rowf(s, XN_CLASS_host,
			    "{'enabled':false,'power_on_mode':'wake-on-lan','metrics':'%s'}",
			    xn_row_ref(make_row(s, XN_CLASS_host_metrics, "{'live':false}")));
	s->pbd = make_rowf(s, XN_CLASS_PBD, "{'SR':'%s','host':'%s','currently_attached':true}",
			   xn_row_ref(s->sr), xn_row_ref(s->host));
	s->network = make_row(s, XN_CLASS_network, "{'bridge':'table'}");
	s->vdi = make_rowf(s, XN_CLASS_VDI,
			   "{'SR':'%s','type':'user','managed':true,'on_boot':'persist'}",
			   xn_row_ref(s->sr));
	s->vbd = make_rowf(s, XN_CLASS_VBD,
			   "{'VM':'%s','VDI':'%s','type':'Disk','mode':'RW','unpluggable':true,"
			   "'empty':false}",
			   vm, xn_row_ref(s->vdi));
}

void scene_begin(struct scene *s, struct api *api, int class_id, const struct line *line)
{
	static const char clean[] = "{}";

	*s = (struct scene){.api = api, .db = api->db, .class_id = class_id, .line = line};
	s->pool = xn_db_first(s->db, XN_CLASS_pool);
	s->metrics = make_row(s, XN_CLASS_VM_metrics, "{'current_domain_type':'pv'}");
	s->guest = make_row(s, XN_CLASS_VM_guest_metrics, clean);
	s->vm = make_rowf(s, XN_CLASS_VM,
			  "{'power_state':'Running','metrics':'%s','guest_metrics':'%s','domid':7,"
			  "'name_label':'table'}",
			  xn_row_ref(s->metrics), xn_row_ref(s->guest));
	make_devices(s);
	switch (class_id) {
	case XN_CLASS_VM:
		s->row = s->vm;
		break;
	case XN_CLASS_VBD:
		s->row = s->vbd;
		break;
	case XN_CLASS_VDI:
		s->row = s->vdi;
		break;
	case XN_CLASS_SR:
		xn_db_delete(s->db, s->vbd);
		s->row = s->sr;
		break;
	case XN_CLASS_host:
		s->row = s->host;
		break;
	case XN_CLASS_pool:
		s->row = s->pool;
		break;
	case XN_CLASS_VIF:
		s->row = make_rowf(s, class_id, "{'VM':'%s','network':'%s','device':'0'}",
				   xn_row_ref(s->vm), xn_row_ref(s->network));
		break;
	case XN_CLASS_VM_appliance:
		s->row = make_row(s, class_id, "{'name_label':'table'}");
		xn_db_set_string(s->db, s->vm, XN_VM_appliance, xn_row_ref(s->row));
		break;
	case XN_CLASS_VUSB:
	case XN_CLASS_VTPM:
		s->row = make_rowf(s, class_id, "{'VM':'%s'}", xn_row_ref(s->vm));
		break;
	case XN_CLASS_Cluster_host:
		s->row = make_row(s, class_id, "{'joined':true}");
		break;
	default:
		s->row = make_row(s, class_id, clean);
	}
}

void scene_end(struct scene *s)
{
	xn_db_map_remove(s->db, s->pool, XN_pool_other_config, "rolling_upgrade_in_progress");
	xn_db_map_remove(s->db, s->pool, XN_pool_other_config, "allow_clone_suspended_vm");
	xn_db_set_bool(s->db, s->pool, XN_pool_ha_enabled, false);
	xn_db_set_string(s->db, s->pool, XN_pool_ha_cluster_stack, "");
	xn_db_set_bool(s->db, s->pool, XN_pool_is_psr_pending, false);
	xn_db_set(s->db, s->pool, XN_pool_current_operations, xn_map_new());
	while (s->n_made > 0) {
		struct xn_row *row = s->made[--s->n_made];

		if (s->class_id == XN_CLASS_SR && row == s->vbd)
			continue;
		xn_db_delete(s->db, row);
	}
}

/* ---- small words ---- */

static void fine(struct scene *s)
{
	s->code = NULL;
	s->n_params = 0;
}

static bool refused(struct scene *s, const char *code, unsigned n, ...)
{
	va_list ap;

	s->code = code;
	s->n_params = n;
	va_start(ap, n);
	for (unsigned i = 0; i < n; i++)
		snprintf(s->params[i], sizeof(s->params[i]), "%s", va_arg(ap, const char *));
	va_end(ap);
	return true;
}

static const char *me(const struct scene *s)
{
	return xn_row_ref(s->row);
}

static void put(struct scene *s, struct xn_row *row, int field, const char *key, const char *value)
{
	xn_db_map_put(s->db, row, field, key, value);
}

static void runs(struct scene *s, struct xn_row *row, int field, const char *operation)
{
	xn_db_map_put(s->db, row, field, task_a, operation);
}

static int current_field(const struct scene *s)
{
	return xn_field_find(&xn_classes[s->class_id], "current_operations");
}

static const struct {
	char letter;
	const char *name, *lower;
} states[] = {
	{'H', "Halted", "halted"},
	{'P', "Paused", "paused"},
	{'S', "Suspended", "suspended"},
	{'R', "Running", "running"},
};

static void set_state(struct scene *s, const char *name)
{
	xn_db_set_string(s->db, s->vm, XN_VM_power_state, name);
}

static void state_of_letter(struct scene *s, char letter)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(states); i++)
		if (states[i].letter == letter)
			set_state(s, states[i].name);
}

/* "halted, running" of "HR". */
static void list_of_letters(const char *letters, char out[64])
{
	out[0] = '\0';
	for (unsigned i = 0; i < XN_ARRAY_SIZE(states); i++)
		if (strchr(letters, states[i].letter)) {
			strcat(out, out[0] ? ", " : "");
			strcat(out, states[i].lower);
		}
}

/* ---- all classes ---- */

static bool upgrade(struct scene *s, const char *arg, int variant)
{
	if (variant > 0)
		return false;
	put(s, s->pool, XN_pool_other_config, "rolling_upgrade_in_progress", "true");
	return refused(s, XN_ERR_NOT_SUPPORTED_DURING_UPGRADE, 0);
}

/* A class's operations: the names of its enum. */
static const struct xn_enum *operations_of(const struct scene *s)
{
	const struct xn_field *field = &xn_classes[s->class_id].fields[current_field(s)];

	return field->type->value->enumeration;
}

/* ---- VM ---- */

static bool vm_blocked(struct scene *s, const char *arg, int variant)
{
	put(s, s->vm, XN_VM_blocked_operations, s->line->name, "because");
	refused(s, XN_ERR_OPERATION_BLOCKED, 2, me(s), "because");
	return variant == 0;
}

static void in_right_state(struct scene *s, const char *arg)
{
	if (strcmp(arg, "none") != 0)
		state_of_letter(s, arg[0]);
}

static bool wrong_state(struct scene *s, const char *arg, int variant)
{
	char letters[8] = "", list[64];
	const char *also = strchr(arg, ',');

	if (variant >= 5 || (variant == 4 && !also))
		return false;
	if (strcmp(arg, "none") != 0)
		snprintf(letters, sizeof(letters), "%.*s",
			 also ? (int)(also - arg) : (int)strlen(arg), arg);
	if (variant == 4 && strcmp(also, ",suspended-clones") == 0)
		put(s, s->pool, XN_pool_other_config, "allow_clone_suspended_vm", "true");
	else if (variant == 4)
		xn_db_set_bool(s->db, s->vm, XN_VM_is_control_domain, true);
	if (also && strcmp(also, ",running-control") == 0 &&
	    xn_row_bool(s->vm, XN_VM_is_control_domain))
		strcat(letters, "R");
	if (also && strcmp(also, ",suspended-clones") == 0 && variant == 4)
		strcat(letters, "S");
	variant = variant == 4 ? 1 : variant;
	set_state(s, states[variant].name);
	list_of_letters(letters, list);
	if (strchr(letters, states[variant].letter))
		fine(s);
	else
		refused(s, XN_ERR_VM_BAD_POWER_STATE, 3, me(s), list, states[variant].lower);
	return true;
}

/* Which operations may go on while this one comes; the words of busy=. */
static bool goes_beside(const char *arg, const char *const *names, unsigned n)
{
	static const struct {
		const char *word, *operations; /* all must be in this list ... */
		bool but_none;                 /* ... or none */
		bool alone;
	} table[] = {
		{"copies", " clone copy export ", false, false},
		{"snapshots", " snapshot checkpoint ", false, false},
		{"snapshots-or-quiesce", " snapshot checkpoint ", false, false},
		{"boot-records", " get_boot_record ", false, false},
		{"no-hard-shutdown", " hard_shutdown ", true, false},
		{"no-hard-reboot", " hard_shutdown hard_reboot ", true, false},
		{"migration", " migrate_send ", false, true},
	};

	if (strcmp(arg, "snapshots-or-quiesce") == 0 && n == 1 &&
	    strcmp(names[0], "snapshot_with_quiesce") == 0)
		return true;
	for (unsigned i = 0; i < XN_ARRAY_SIZE(table); i++) {
		unsigned among = 0;

		if (strcmp(table[i].word, arg) != 0)
			continue;
		for (unsigned k = 0; k < n; k++) {
			char padded[48];

			snprintf(padded, sizeof(padded), " %s ", names[k]);
			among += strstr(table[i].operations, padded) != NULL;
		}
		return table[i].but_none ? among == 0 : among == n && (!table[i].alone || n == 1);
	}
	return false;
}

static const char *spelled(const char *operation)
{
	static const char *const odd[][2] = {
		{"assert_operation_valid", "assertoperationvalid"},
		{"data_source_op", "data_sources_op"},
		{"create_template", "(unknown operation)"},
		{"query_services", "(unknown operation)"},
		{"changing_memory_limits", "(unknown operation)"},
		{"changing_VCPUs", "(unknown operation)"},
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(odd); i++)
		if (strcmp(odd[i][0], operation) == 0)
			return odd[i][1];
	return operation;
}

/* First each operation alone, then some pairs. */
static bool vm_busy(struct scene *s, const char *arg, int variant)
{
	static const char *const pairs[][2] = {
		{"clone", "copy"},
		{"copy", "export"},
		{"snapshot", "checkpoint"},
		{"snapshot", "snapshot_with_quiesce"},
		{"clone", "start"},
		{"migrate_send", "metadata_export"},
		{"pause", "hard_reboot"},
		{"get_boot_record", "get_boot_record"},
		{"suspend", "data_source_op"},
	};
	const struct xn_enum *all = operations_of(s);
	int n = (int)all->n_values;
	const char *names[2] = {"", ""};
	unsigned count = variant < n ? 1 : 2;
	char operations[128], tasks[128];

	if (variant >= n + (int)XN_ARRAY_SIZE(pairs))
		return false;
	names[0] = variant < n ? all->values[variant] : pairs[variant - n][0];
	names[1] = variant < n ? "" : pairs[variant - n][1];
	runs(s, s->vm, XN_VM_current_operations, names[0]);
	if (count == 2)
		put(s, s->vm, XN_VM_current_operations, task_b, names[1]);
	if (goes_beside(arg, names, count)) {
		fine(s);
		return true;
	}
	snprintf(operations, sizeof(operations), count == 2 ? "{%s,%s}" : "%s", spelled(names[0]),
		 spelled(names[1]));
	snprintf(tasks, sizeof(tasks), count == 2 ? "{%s,%s}" : "%s", task_a, task_b);
	return refused(s, XN_ERR_OTHER_OPERATION_IN_PROGRESS, 4, "VM", me(s), operations, tasks);
}

static bool vm_template(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vm, XN_VM_is_a_template, true);
	xn_db_set_bool(s->db, s->vm, XN_VM_is_a_snapshot, false);
	refused(s, XN_ERR_VM_IS_TEMPLATE, 2, me(s), s->line->spelled);
	return variant == 0;
}

static bool vm_default_template(struct scene *s, const char *arg, int variant)
{
	vm_template(s, arg, 0);
	if (variant == 0)
		xn_db_set_bool(s->db, s->vm, XN_VM_is_default_template, true);
	else if (variant < 3)
		put(s, s->vm, XN_VM_other_config, "default_template", variant == 1 ? "1" : "true");
	else
		fine(s); /* somebody's own template */
	return variant < 4;
}

static bool vm_snapshot(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vm, XN_VM_is_a_template, true);
	xn_db_set_bool(s->db, s->vm, XN_VM_is_a_snapshot, true);
	refused(s, XN_ERR_VM_IS_SNAPSHOT, 2, me(s), s->line->spelled);
	return variant == 0;
}

static void vm_be_template(struct scene *s, const char *arg)
{
	xn_db_set_bool(s->db, s->vm, XN_VM_is_a_template, true);
}

static bool vm_no_template(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vm, XN_VM_is_a_template, false);
	refused(s, XN_ERR_PROVISION_ONLY_ALLOWED_ON_TEMPLATE, 0);
	return variant == 0;
}

static void vm_be_snapshot(struct scene *s, const char *arg)
{
	xn_db_set_bool(s->db, s->vm, XN_VM_is_a_template, true);
	xn_db_set_bool(s->db, s->vm, XN_VM_is_a_snapshot, true);
}

static bool vm_no_snapshot(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vm, XN_VM_is_a_template, false);
	xn_db_set_bool(s->db, s->vm, XN_VM_is_a_snapshot, false);
	refused(s, XN_ERR_REVERT_ONLY_ALLOWED_ON_SNAPSHOT, 0);
	return variant == 0;
}

static void lose_metrics(struct scene *s)
{
	xn_db_set_string(s->db, s->vm, XN_VM_metrics, XN_NULL_REF);
}

static bool vm_immobile(struct scene *s, const char *arg, int variant)
{
	if (variant == 0)
		xn_db_set_bool(s->db, s->metrics, XN_VM_metrics_nomigrate, true);
	else if (variant == 1)
		xn_db_set_bool(s->db, s->metrics, XN_VM_metrics_nested_virt, true);
	else
		put(s, s->vm, XN_VM_platform, variant & 1 ? "nomigrate" : "nested-virt", "true");
	refused(s, XN_ERR_VM_IS_IMMOBILE, 1, me(s));
	if (variant == 2 || variant == 3)
		lose_metrics(s);
	else if (variant == 4)
		fine(s); /* what holds is how it was started */
	return variant < 5;
}

static bool vm_nested(struct scene *s, const char *arg, int variant)
{
	if (variant == 0) {
		xn_db_set_bool(s->db, s->metrics, XN_VM_metrics_nested_virt, true);
	} else {
		put(s, s->vm, XN_VM_platform, "nested-virt", "true");
		lose_metrics(s);
	}
	refused(s, XN_ERR_VM_IS_USING_NESTED_VIRT, 1, me(s));
	return variant < 2;
}

static bool vm_control_domain(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vm, XN_VM_is_control_domain, true);
	xn_db_set_int(s->db, s->vm, XN_VM_domid, variant ? 0 : 7);
	refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	return variant < 2;
}

static bool vm_domain_zero(struct scene *s, const char *arg, int variant)
{
	vm_control_domain(s, arg, variant == 0);
	if (variant == 1)
		fine(s); /* another control domain */
	return variant < 2;
}

static void vm_be_live(struct scene *s, const char *arg)
{
	set_state(s, "Running");
}

static bool vm_cannot_suspend(struct scene *s, const char *arg, int variant)
{
	put(s, s->guest, XN_VM_guest_metrics_other, "data-cant-suspend-reason", "busy");
	refused(s, XN_ERR_VM_NON_SUSPENDABLE, 2, me(s), "busy");
	return variant == 0;
}

static bool vm_lacks(struct scene *s, const char *arg, int variant)
{
	static const struct {
		const char *word, *features[2];
	} table[] = {
		{"suspend", {"feature-suspend", NULL}},
		{"poweroff", {"feature-shutdown", "feature-poweroff"}},
		{"reboot", {"feature-shutdown", "feature-reboot"}},
		{"vcpus", {"feature-vcpu-hotplug", NULL}},
	};
	unsigned at = 0;

	while (strcmp(table[at].word, arg) != 0)
		at++;
	xn_db_set_string(s->db, s->metrics, XN_VM_metrics_current_domain_type, "hvm");
	refused(s, XN_ERR_VM_LACKS_FEATURE, 1, me(s));
	switch (variant) {
	case 0:
		break;
	case 1:
		xn_db_set_string(s->db, s->vm, XN_VM_guest_metrics, XN_NULL_REF);
		break;
	case 2: /* half of a version is none */
		put(s, s->guest, XN_VM_guest_metrics_PV_drivers_version, "major", "9");
		break;
	case 3:
		put(s, s->guest, XN_VM_guest_metrics_PV_drivers_version, "major", "9");
		put(s, s->guest, XN_VM_guest_metrics_PV_drivers_version, "minor", "3");
		fine(s);
		break;
	case 4:
	case 5:
		if (!table[at].features[variant - 4])
			return false;
		put(s, s->guest, XN_VM_guest_metrics_other, table[at].features[variant - 4], "1");
		fine(s);
		break;
	default:
		return false;
	}
	return true;
}

static bool vm_reset_disk(struct scene *s, const char *arg, int variant)
{
	put(s, s->vdi, XN_VDI_sm_config, "on_boot", "reset");
	refused(s, XN_ERR_VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION, 0);
	return variant == 0;
}

static bool vm_cached_reset_disk(struct scene *s, const char *arg, int variant)
{
	vm_reset_disk(s, arg, 0);
	if (variant == 0)
		put(s, s->vdi, XN_VDI_sm_config, "caching", "true");
	else
		fine(s);
	return variant < 2;
}

static struct xn_row *give_vgpu(struct scene *s, const char *implementation, bool saves)
{
	struct xn_row *type =
		make_rowf(s, XN_CLASS_VGPU_type, "{'implementation':'%s'}", implementation);
	struct xn_row *pgpu = make_rowf(s, XN_CLASS_PGPU, "{'compatibility_metadata':{%s}}",
					saves ? "'nvidia':'1'" : "");

	return make_rowf(s, XN_CLASS_VGPU, "{'VM':'%s','type':'%s','resident_on':'%s'}",
			 xn_row_ref(s->vm), xn_row_ref(type), xn_row_ref(pgpu));
}

static bool vm_pci(struct scene *s, const char *arg, int variant)
{
	struct xn_row *pci = make_row(s, XN_CLASS_PCI, "{'pci_id':'0000:03:00.0'}");

	xn_db_set_add(s->db, s->vm, XN_VM_attached_PCIs, xn_row_ref(pci));
	refused(s, XN_ERR_VM_HAS_PCI_ATTACHED, 1, me(s));
	if (variant == 1) {
		xn_db_set_string(s->db, give_vgpu(s, "nvidia_sriov", true), XN_VGPU_PCI,
				 xn_row_ref(pci));
		fine(s);
	}
	return variant < 2;
}

static bool vm_vgpu(struct scene *s, const char *arg, int variant)
{
	static const struct {
		const char *implementation;
		bool saves, fine;
	} ways[] = {
		{"passthrough", false, false}, {"gvt_g", true, false},
		{"nvidia", false, false},      {"nvidia_sriov", false, false},
		{"nvidia", true, true},        {"nvidia_sriov", true, true},
	};
	const char *at_rest = strcmp(s->line->name, "migrate_send") == 0 ? "Halted"
			      : strcmp(s->line->name, "checkpoint") == 0 ? "Suspended"
									 : NULL;

	if (variant > (int)XN_ARRAY_SIZE(ways) - !at_rest)
		return false;
	give_vgpu(s, ways[variant % XN_ARRAY_SIZE(ways)].implementation,
		  ways[variant % XN_ARRAY_SIZE(ways)].saves);
	refused(s, XN_ERR_VM_HAS_VGPU, 1, me(s));
	if (variant == (int)XN_ARRAY_SIZE(ways)) {
		set_state(s, at_rest);
		fine(s);
	} else if (ways[variant].fine) {
		fine(s);
	}
	return true;
}

static bool vm_vusb(struct scene *s, const char *arg, int variant)
{
	make_rowf(s, XN_CLASS_VUSB, "{'VM':'%s'}", xn_row_ref(s->vm));
	refused(s, XN_ERR_VM_HAS_VUSBS, 1, me(s));
	return variant == 0;
}

static bool in_group(struct scene *s, int class_id, int field, const char *code)
{
	struct xn_row *group = make_row(s, class_id, "{}");

	xn_db_set_string(s->db, s->vm, field, xn_row_ref(group));
	return refused(s, code, 2, me(s), xn_row_ref(group));
}

static bool vm_appliance(struct scene *s, const char *arg, int variant)
{
	return in_group(s, XN_CLASS_VM_appliance, XN_VM_appliance,
			XN_ERR_VM_IS_PART_OF_AN_APPLIANCE) &&
	       variant == 0;
}

static bool vm_policy(struct scene *s, const char *arg, int variant)
{
	return in_group(s, XN_CLASS_VMPP, XN_VM_protection_policy,
			XN_ERR_VM_ASSIGNED_TO_PROTECTION_POLICY) &&
	       variant == 0;
}

static bool vm_schedule(struct scene *s, const char *arg, int variant)
{
	return in_group(s, XN_CLASS_VMSS, XN_VM_snapshot_schedule,
			XN_ERR_VM_ASSIGNED_TO_SNAPSHOT_SCHEDULE) &&
	       variant == 0;
}

static void vm_be_system(struct scene *s, const char *arg)
{
	put(s, s->vm, XN_VM_other_config, "is_system_domain", "1");
}

static bool vm_no_system(struct scene *s, const char *arg, int variant)
{
	static const char *const values[] = {"0", "false", "yes", "true"};

	put(s, s->vm, XN_VM_other_config, "is_system_domain", values[variant % 4]);
	refused(s, XN_ERR_NOT_SYSTEM_DOMAIN, 1, me(s));
	if (variant == 3)
		fine(s);
	return variant < 4;
}

static bool vm_vtpm(struct scene *s, const char *arg, int variant)
{
	make_rowf(s, XN_CLASS_VTPM, "{'VM':'%s'}", xn_row_ref(s->vm));
	refused(s, XN_ERR_VTPM_MAX_AMOUNT_REACHED, 1, "1");
	return variant == 0;
}

static bool vm_no_quiesce(struct scene *s, const char *arg, int variant)
{
	refused(s, XN_ERR_VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED, 1, me(s));
	return variant == 0;
}

/* ---- devices: VBD, VIF, VUSB, VTPM ---- */

static bool device_busy(struct scene *s, const char *arg, int variant)
{
	const struct xn_enum *all = operations_of(s);
	const char *name;
	bool passes;

	if (variant >= (int)all->n_values)
		return false;
	name = all->values[variant];
	passes = arg[0] && (strcmp(name, "pause") == 0 || strcmp(name, "unpause") == 0 ||
			    (strcmp(arg, "pauses-and-attach") == 0 && strcmp(name, "attach") == 0));
	runs(s, s->row, current_field(s), name);
	refused(s, XN_ERR_OTHER_OPERATION_IN_PROGRESS, 4, xn_classes[s->class_id].name, me(s), name,
		task_a);
	if (passes)
		fine(s);
	return true;
}

/* Two at once: how several are written differs from class to class. */
static bool device_busy_twice(struct scene *s, const char *arg, int variant)
{
	const struct xn_enum *all = operations_of(s);
	char names[128], tasks[128];

	if (variant < (int)all->n_values || arg[0])
		return device_busy(s, arg, variant);
	runs(s, s->row, current_field(s), all->values[0]);
	put(s, s->row, current_field(s), task_b, all->values[1]);
	snprintf(names, sizeof(names), "{%s; %s}", all->values[0], all->values[1]);
	snprintf(tasks, sizeof(tasks), "{%s; %s}", task_a, task_b);
	refused(s, XN_ERR_OTHER_OPERATION_IN_PROGRESS, 4, xn_classes[s->class_id].name, me(s),
		names, tasks);
	return variant == (int)all->n_values;
}

static bool vm_of_device_state(struct scene *s, const char *arg, int variant)
{
	if (variant >= 4)
		return false;
	set_state(s, states[variant].name);
	refused(s, XN_ERR_VM_BAD_POWER_STATE, 3, xn_row_ref(s->vm), "running",
		states[variant].lower);
	if (strchr(arg, states[variant].letter))
		fine(s);
	return true;
}

static void set_attached(struct scene *s, const char *field, bool yes)
{
	xn_db_set_bool(s->db, s->row, xn_field_find(&xn_classes[s->class_id], field), yes);
}

static bool has_reserved(const struct scene *s)
{
	return xn_field_find(&xn_classes[s->class_id], "reserved") >= 0;
}

static bool attached(struct scene *s, const char *arg, int variant)
{
	if (variant > has_reserved(s))
		return false;
	set_state(s, "Running");
	set_attached(s, variant ? "reserved" : "currently_attached", true);
	return refused(s, XN_ERR_DEVICE_ALREADY_ATTACHED, 1, me(s));
}

static void be_attached(struct scene *s, const char *arg)
{
	set_attached(s, "currently_attached", true);
}

static bool detached(struct scene *s, const char *arg, int variant)
{
	set_state(s, "Running");
	set_attached(s, "currently_attached", false);
	refused(s, XN_ERR_DEVICE_ALREADY_DETACHED, 1, me(s));
	if (variant == 1 && has_reserved(s)) {
		set_attached(s, "reserved", true);
		fine(s);
	}
	return variant < 1 + has_reserved(s);
}

static bool vm_leaves(struct scene *s, const char *arg, int variant)
{
	static const char *const ways[] = {"clean_shutdown", "hard_shutdown", "suspend", "pause",
					   "snapshot"};

	if (variant >= (int)XN_ARRAY_SIZE(ways))
		return false;
	runs(s, s->vm, XN_VM_current_operations, ways[variant]);
	refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	if (variant == 4)
		fine(s);
	return true;
}

static int hotplug_field(const struct scene *s)
{
	return s->class_id == XN_CLASS_VBD ? XN_VM_guest_metrics_can_use_hotplug_vbd
					   : XN_VM_guest_metrics_can_use_hotplug_vif;
}

static void be_hvm(struct scene *s)
{
	xn_db_set_string(s->db, s->metrics, XN_VM_metrics_current_domain_type, "hvm");
}

static bool no_hotplug(struct scene *s, const char *arg, int variant)
{
	be_hvm(s);
	xn_db_set_string(s->db, s->guest, hotplug_field(s), "no");
	xn_db_set_bool(s->db, s->guest, XN_VM_guest_metrics_PV_drivers_detected, true);
	refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	if (variant == 1) { /* nobody asks the kernel of a PV guest */
		xn_db_set_string(s->db, s->metrics, XN_VM_metrics_current_domain_type, "pv");
		fine(s);
	}
	return variant < 2;
}

static bool no_drivers(struct scene *s, const char *arg, int variant)
{
	be_hvm(s);
	xn_db_set_string(s->db, s->guest, hotplug_field(s), "unspecified");
	refused(s, XN_ERR_VM_MISSING_PV_DRIVERS, 1, xn_row_ref(s->vm));
	switch (variant) {
	case 0:
		break;
	case 1:
		xn_db_set_string(s->db, s->vm, XN_VM_guest_metrics, XN_NULL_REF);
		break;
	case 2:
		xn_db_set_bool(s->db, s->guest, XN_VM_guest_metrics_PV_drivers_detected, true);
		fine(s);
		break;
	case 3:
		xn_db_set_string(s->db, s->guest, hotplug_field(s), "yes");
		fine(s);
		break;
	case 4:
		put(s, s->guest, XN_VM_guest_metrics_PV_drivers_version, "major", "9");
		put(s, s->guest, XN_VM_guest_metrics_PV_drivers_version, "minor", "3");
		fine(s);
		break;
	default:
		return false;
	}
	return true;
}

static bool vif_domain_zero(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vm, XN_VM_is_control_domain, true);
	xn_db_set_int(s->db, s->vm, XN_VM_domid, 0);
	refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	return variant == 0;
}

static bool vif_sriov(struct scene *s, const char *arg, int variant)
{
	struct xn_row *pif = make_rowf(s, XN_CLASS_PIF, "{'network':'%s','device':'eth9'}",
				       xn_row_ref(s->network));

	make_rowf(s, XN_CLASS_network_sriov, "{'logical_PIF':'%s'}", xn_row_ref(pif));
	refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	return variant == 0;
}

static void vtpm_be_halted(struct scene *s, const char *arg)
{
	set_state(s, "Halted");
}

static bool vtpm_state(struct scene *s, const char *arg, int variant)
{
	if (variant >= 4)
		return false;
	if (states[variant].letter == 'S') /* see vtpm_listed */
		variant = 0;
	set_state(s, states[variant].name);
	refused(s, XN_ERR_VM_BAD_POWER_STATE, 3, xn_row_ref(s->vm), "halted;suspended",
		states[variant].lower);
	if (strchr(arg, states[variant].letter))
		fine(s);
	return true;
}

static bool vtpm_listed(struct scene *s, const char *arg, int variant)
{
	set_state(s, "Suspended");
	fine(s);
	return variant == 0;
}

/* ---- VBD ---- */

static bool vbd_fixed(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vbd, XN_VBD_unpluggable, false);
	refused(s, XN_ERR_VBD_NOT_UNPLUGGABLE, 1, me(s));
	return variant == 0;
}

static void vbd_be_cd(struct scene *s, const char *arg)
{
	xn_db_set_string(s->db, s->vbd, XN_VBD_type, "CD");
	xn_db_set_string(s->db, s->vbd, XN_VBD_mode, "RO");
}

static bool vbd_no_cd(struct scene *s, const char *arg, int variant)
{
	xn_db_set_string(s->db, s->vbd, XN_VBD_type, variant ? "Floppy" : "Disk");
	refused(s, XN_ERR_VBD_NOT_REMOVABLE_MEDIA, 1, me(s));
	return variant < 2;
}

static void vbd_set_empty(struct scene *s, bool yes)
{
	xn_db_set_bool(s->db, s->vbd, XN_VBD_empty, yes);
	xn_db_set_string(s->db, s->vbd, XN_VBD_VDI, yes ? XN_NULL_REF : xn_row_ref(s->vdi));
}

static bool vbd_empty(struct scene *s, const char *arg, int variant)
{
	vbd_set_empty(s, true);
	refused(s, XN_ERR_VBD_IS_EMPTY, 1, me(s));
	return variant == 0;
}

static void vbd_be_empty(struct scene *s, const char *arg)
{
	vbd_set_empty(s, true);
}

static bool vbd_full(struct scene *s, const char *arg, int variant)
{
	vbd_set_empty(s, false);
	refused(s, XN_ERR_VBD_NOT_EMPTY, 1, me(s));
	return variant == 0;
}

static bool vbd_hvm_cd(struct scene *s, const char *arg, int variant)
{
	be_hvm(s);
	xn_db_set_string(s->db, s->guest, XN_VM_guest_metrics_can_use_hotplug_vbd, "yes");
	vbd_be_cd(s, arg);
	refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	return variant == 0;
}

static bool vbd_vm_suspended(struct scene *s, const char *arg, int variant)
{
	set_state(s, "Suspended");
	refused(s, XN_ERR_VM_BAD_POWER_STATE, 3, xn_row_ref(s->vm), "halted, running", "suspended");
	return variant == 0;
}

static bool vbd_unmanaged(struct scene *s, const char *arg, int variant)
{
	vbd_set_empty(s, false);
	xn_db_set_bool(s->db, s->vdi, XN_VDI_managed, false);
	refused(s, XN_ERR_VDI_NOT_MANAGED, 1, me(s));
	return variant == 0;
}

static bool vbd_disk_busy(struct scene *s, const char *arg, int variant)
{
	const struct xn_class *vdi = &xn_classes[XN_CLASS_VDI];
	const struct xn_enum *all = vdi->fields[XN_VDI_current_operations].type->value->enumeration;
	const char *name;

	if (variant >= (int)all->n_values)
		return false;
	vbd_set_empty(s, false);
	name = all->values[variant];
	runs(s, s->vdi, XN_VDI_current_operations, name);
	refused(s, XN_ERR_OTHER_OPERATION_IN_PROGRESS, 4, "VDI", xn_row_ref(s->vdi), name, task_a);
	if (strcmp(name, "copy") == 0) /* for who writes, see vbd_disk_copied() */
		xn_db_set_string(s->db, s->vbd, XN_VBD_mode, "RO");
	if (strcmp(name, "mirror") == 0 || strcmp(name, "copy") == 0)
		fine(s);
	return true;
}

/* Another VM's VBD of the same disk. */
static struct xn_row *other_vbd(struct scene *s, const char *mode, const char *state)
{
	struct xn_row *vm = make_rowf(s, XN_CLASS_VM, "{'power_state':'%s'}", state);

	return make_rowf(s, XN_CLASS_VBD,
			 "{'VM':'%s','VDI':'%s','mode':'%s','type':'Disk','unpluggable':true,"
			 "'currently_attached':true}",
			 xn_row_ref(vm), xn_row_ref(s->vdi), mode);
}

/* A copy of the disk is under way: its image may be read beside that. */
static void vbd_disk_copied(struct scene *s, bool writes)
{
	vbd_set_empty(s, false);
	runs(s, s->vdi, XN_VDI_current_operations, "copy");
	xn_db_set_string(s->db, s->vbd, XN_VBD_mode, writes ? "RW" : "RO");
	refused(s, XN_ERR_OTHER_OPERATION_IN_PROGRESS, 4, "VDI", xn_row_ref(s->vdi), "copy",
		task_a);
	if (!writes)
		fine(s);
}

static bool vbd_disk_shared(struct scene *s, const char *arg, int variant)
{
	static const struct {
		const char *mine, *other, *state;
		bool attached, reserved, busy, sharable, system;
		bool fine;
	} ways[] = {
		{"RW", "RW", "Running", true, false, false, false, false, false},
		{"RW", "RO", "Running", true, false, false, false, false, false},
		{"RO", "RW", "Paused", true, false, false, false, false, false},
		{"RO", "RO", "Running", true, false, false, false, false, true},
		{"RW", "RW", "Running", false, true, false, false, false, false},
		{"RW", "RW", "Halted", false, false, true, false, false, false},
		{"RW", "RW", "Halted", false, false, false, false, false, true},
		{"RW", "RW", "Suspended", true, false, false, false, false, true},
		{"RW", "RW", "Running", true, false, false, true, false, true},
		{"RW", "RW", "Running", true, false, false, false, true, true},
	};
	int copied = variant - (int)XN_ARRAY_SIZE(ways);
	struct xn_row *other;

	if (copied >= 0) {
		vbd_disk_copied(s, copied == 0);
		return copied < 2;
	}
	vbd_set_empty(s, false);
	other = other_vbd(s, ways[variant].other, ways[variant].state);
	xn_db_set_bool(s->db, other, XN_VBD_currently_attached, ways[variant].attached);
	xn_db_set_bool(s->db, other, XN_VBD_reserved, ways[variant].reserved);
	if (ways[variant].busy)
		runs(s, other, XN_VBD_current_operations, "attach");
	xn_db_set_string(s->db, s->vbd, XN_VBD_mode, ways[variant].mine);
	xn_db_set_bool(s->db, s->vdi, XN_VDI_sharable, ways[variant].sharable);
	if (ways[variant].system)
		put(s, s->vm, XN_VM_other_config, "is_system_domain", "true");
	refused(s, XN_ERR_VDI_IN_USE, 1, xn_row_ref(s->vdi));
	if (ways[variant].fine)
		fine(s);
	return true;
}

static bool vbd_disk_read_only(struct scene *s, const char *arg, int variant)
{
	vbd_set_empty(s, false);
	xn_db_set_bool(s->db, s->vdi, XN_VDI_read_only, true);
	xn_db_set_string(s->db, s->vbd, XN_VBD_mode, variant ? "RO" : "RW");
	refused(s, XN_ERR_VDI_READONLY, 1, xn_row_ref(s->vdi));
	if (variant)
		fine(s);
	return variant < 2;
}

/* The call itself refuses, what the rules do not; see test_refusals.c. */
static bool vbd_unsupported(struct scene *s, const char *arg, int variant)
{
	char *method = xn_asprintf("VBD.%s", s->line->name);
	char *args = xn_asprintf("[\"%s\"%s]", me(s),
				 strcmp(s->line->name, "unpause") == 0 ? ",\"token\"" : "");
	struct xn_error err = {0};

	if (variant > 0) {
		free(method);
		free(args);
		return false;
	}
	api_fail(s->api, method, args, XN_ERR_SR_OPERATION_NOT_SUPPORTED, &err);
	assert_string_equal(err.params[0], xn_row_ref(s->sr));
	xn_error_clear(&err);
	free(method);
	free(args);
	fine(s);
	return true;
}

/* ---- VDI ---- */

static bool vdi_busy(struct scene *s, const char *arg, int variant)
{
	/* Where xapi finds the disk in use by its own VBD, through which it copies. */
	static const char *const changing[] = {"data_destroy",  "destroy",     "forget", "resize",
					       "resize_online", "revert_from", "update", NULL};
	const struct xn_enum *all = operations_of(s);
	bool twice = variant == (int)all->n_values && arg[0]; /* a mirror lets all others pass */
	const char *name;

	if (variant >= (int)all->n_values + twice)
		return false;
	name = all->values[twice ? 0 : variant];
	runs(s, s->vdi, XN_VDI_current_operations, name);
	refused(s, XN_ERR_OTHER_OPERATION_IN_PROGRESS, 4, "VDI", me(s), name, task_a);
	if (twice)
		put(s, s->vdi, XN_VDI_current_operations, task_b, "mirror");
	if (twice || (arg[0] && strcmp(name, "mirror") == 0))
		fine(s);
	if (strcmp(name, "copy") == 0 && !xn_is_one_of(s->line->name, changing)) {
		fine(s);
		if (strcmp(s->line->name, "snapshot") == 0)
			refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	}
	return true;
}

static bool vdi_unplugged(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->pbd, XN_PBD_currently_attached, false);
	refused(s, XN_ERR_SR_HAS_NO_PBDS, 1, xn_row_ref(s->sr));
	return variant == 0;
}

/* @arg: of each word, which uses are fine. */
static bool vdi_in_use(struct scene *s, bool read_is_fine, bool snapshot_is_fine, int variant)
{
	static const struct {
		const char *mode;
		bool reserved, snapshot;
	} ways[] = {
		{"RW", false, false}, {"RW", true, false}, {"RO", false, false},
		{"RO", true, false},  {"RW", false, true},
	};

	if (variant >= (int)XN_ARRAY_SIZE(ways))
		return false;
	xn_db_set_string(s->db, s->vbd, XN_VBD_mode, ways[variant].mode);
	xn_db_set_bool(s->db, s->vbd,
		       ways[variant].reserved ? XN_VBD_reserved : XN_VBD_currently_attached, true);
	xn_db_set_bool(s->db, s->vm, XN_VM_is_a_snapshot, ways[variant].snapshot);
	refused(s, XN_ERR_VDI_IN_USE, 2, me(s), s->line->name);
	if ((read_is_fine && strcmp(ways[variant].mode, "RO") == 0) ||
	    (snapshot_is_fine && ways[variant].snapshot))
		fine(s);
	return true;
}

static bool vdi_used(struct scene *s, const char *arg, int variant)
{
	return vdi_in_use(s, false, false, variant);
}

static bool vdi_written(struct scene *s, const char *arg, int variant)
{
	return vdi_in_use(s, true, false, variant);
}

static bool vdi_used_by_vm(struct scene *s, const char *arg, int variant)
{
	return vdi_in_use(s, false, true, variant);
}

static bool vdi_vbd_busy(struct scene *s, const char *arg, int variant)
{
	const struct xn_class *vbd = &xn_classes[XN_CLASS_VBD];
	const struct xn_enum *all = vbd->fields[XN_VBD_current_operations].type->value->enumeration;

	if (variant >= (int)all->n_values)
		return false;
	runs(s, s->vbd, XN_VBD_current_operations, all->values[variant]);
	return refused(s, XN_ERR_OTHER_OPERATION_IN_PROGRESS, 4, "VDI", me(s), all->values[variant],
		       task_a);
}

/* Of SRs, too. `NAME,or-tools`: the SR of the guest tools has it not, whatever its driver says. */
static bool lacks_feature(struct scene *s, const char *arg, int variant)
{
	char name[40];
	const char *tools = strstr(arg, ",or-tools");

	snprintf(name, sizeof(name), "%.*s", tools ? (int)(tools - arg) : (int)strlen(arg), arg);
	if (variant == 0)
		xn_db_map_remove(s->db, s->sm, XN_SM_features, name);
	else if (variant == 1)
		xn_db_set_string(s->db, s->sr, XN_SR_type, "nobody knows");
	else if (variant == 2 && tools)
		xn_db_set_bool(s->db, s->sr, XN_SR_is_tools_sr, true);
	else
		return false;
	return refused(s, XN_ERR_SR_OPERATION_NOT_SUPPORTED, 1, xn_row_ref(s->sr));
}

static bool vdi_type(struct scene *s, const char *arg, int variant)
{
	xn_db_set_string(s->db, s->vdi, XN_VDI_type, arg);
	refused(s, XN_ERR_VDI_INCOMPATIBLE_TYPE, 2, me(s), "CBT metadata");
	return variant == 0;
}

static bool vdi_no_user_type(struct scene *s, const char *arg, int variant)
{
	static const char *const types[][2] = {
		{"ephemeral", "Ephemeral"},
		{"suspend", "Suspend"},
		{"crashdump", "Crashdump"},
		{"ha_statefile", "HA statefile"},
		{"metadata", "Metadata"},
		{"redo_log", "Redo log"},
		{"rrd", "rrd"},
		{"pvs_cache", "PVS cache"},
		{"cbt_metadata", "CBT metadata"},
		{"system", NULL},
	};

	if (variant >= (int)XN_ARRAY_SIZE(types))
		return false;
	xn_db_set_string(s->db, s->vdi, XN_VDI_type, types[variant][0]);
	if (types[variant][1])
		refused(s, XN_ERR_VDI_INCOMPATIBLE_TYPE, 2, me(s), types[variant][1]);
	else
		fine(s);
	return true;
}

static bool vdi_rrd(struct scene *s, const char *arg, int variant)
{
	xn_db_set_string(s->db, s->vdi, XN_VDI_type, "rrd");
	refused(s, XN_ERR_VDI_HAS_RRDS, 1, me(s));
	return variant == 0;
}

static void be_ha_disk(struct scene *s, int variant)
{
	xn_db_set_string(s->db, s->vdi, XN_VDI_type, variant ? "redo_log" : "ha_statefile");
}

static bool vdi_ha_type(struct scene *s, const char *arg, int variant)
{
	be_ha_disk(s, variant);
	refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	return variant < 2;
}

static bool vdi_ha_enabled(struct scene *s, const char *arg, int variant)
{
	be_ha_disk(s, variant);
	xn_db_set_bool(s->db, s->pool, XN_pool_ha_enabled, true);
	refused(s, XN_ERR_HA_IS_ENABLED, 0);
	return variant < 2;
}

static bool vdi_ha_comes(struct scene *s, const char *arg, int variant)
{
	be_ha_disk(s, variant);
	runs(s, s->pool, XN_pool_current_operations, "ha_enable");
	refused(s, XN_ERR_HA_ENABLE_IN_PROGRESS, 0);
	return variant < 2;
}

static bool vdi_ha_goes(struct scene *s, const char *arg, int variant)
{
	be_ha_disk(s, variant);
	put(s, s->pool, XN_pool_current_operations, task_b, "ha_disable");
	refused(s, XN_ERR_HA_DISABLE_IN_PROGRESS, 0);
	return variant < 2;
}

static bool vdi_cbt(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vdi, XN_VDI_cbt_enabled, true);
	refused(s, XN_ERR_VDI_CBT_ENABLED, 1, me(s));
	return variant == 0;
}

static void vdi_be_cbt(struct scene *s, const char *arg)
{
	xn_db_set_bool(s->db, s->vdi, XN_VDI_cbt_enabled, true);
}

static bool vdi_no_cbt(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vdi, XN_VDI_cbt_enabled, false);
	refused(s, XN_ERR_VDI_NO_CBT_METADATA, 1, me(s));
	return variant == 0;
}

static void vdi_be_snapshot(struct scene *s, const char *arg)
{
	xn_db_set_bool(s->db, s->vdi, XN_VDI_is_a_snapshot, true);
}

static bool vdi_no_snapshot(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vdi, XN_VDI_is_a_snapshot, false);
	refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	return variant == 0;
}

static bool vdi_no_snapshot_to_revert(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vdi, XN_VDI_is_a_snapshot, false);
	refused(s, XN_ERR_REVERT_ONLY_ALLOWED_ON_SNAPSHOT, 0);
	return variant == 0;
}

static bool vdi_snapshot(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vdi, XN_VDI_is_a_snapshot, true);
	refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	return variant == 0;
}

static bool vdi_sharable(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->vdi, XN_VDI_sharable, true);
	refused(s, XN_ERR_VDI_IS_SHARABLE, 1, me(s));
	return variant == 0;
}

static bool vdi_reset(struct scene *s, const char *arg, int variant)
{
	xn_db_set_string(s->db, s->vdi, XN_VDI_on_boot, "reset");
	refused(s, XN_ERR_VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION, 0);
	return variant == 0;
}

static bool vdi_copied(struct scene *s, const char *arg, int variant)
{
	runs(s, s->vdi, XN_VDI_current_operations, "copy");
	refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	return variant == 0;
}

static bool vdi_physical(struct scene *s, const char *arg, int variant)
{
	xn_db_set_string(s->db, s->sr, XN_SR_type, "udev");
	xn_db_set_string(s->db, s->sm, XN_SM_type, "udev");
	refused(s, XN_ERR_VDI_IS_A_PHYSICAL_DEVICE, 1, me(s));
	return variant == 0;
}

static bool vdi_tools(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->sr, XN_SR_is_tools_sr, true);
	refused(s, XN_ERR_SR_OPERATION_NOT_SUPPORTED, 1, xn_row_ref(s->sr));
	return variant == 0;
}

/* ---- SR ---- */

static void sr_be_unplugged(struct scene *s, const char *arg)
{
	xn_db_set_bool(s->db, s->pbd, XN_PBD_currently_attached, false);
}

static bool sr_plugged(struct scene *s, const char *arg, int variant)
{
	if (strcmp(xn_row_string(s->pbd, XN_PBD_SR), me(s)) != 0) /* another word took it away */
		make_rowf(s, XN_CLASS_PBD, "{'SR':'%s','currently_attached':true}", me(s));
	xn_db_set_bool(s->db, s->pbd, XN_PBD_currently_attached, true);
	refused(s, XN_ERR_SR_HAS_PBD, 1, me(s));
	return variant == 0;
}

static bool sr_no_pbd(struct scene *s, const char *arg, int variant)
{
	xn_db_set_string(s->db, s->pbd, XN_PBD_SR, XN_NULL_REF);
	refused(s, XN_ERR_SR_HAS_NO_PBDS, 1, me(s));
	return variant == 0;
}

static void sr_be_empty(struct scene *s, const char *arg)
{
	xn_db_set_string(s->db, s->vdi, XN_VDI_type, "rrd");
}

static bool sr_has_disks(struct scene *s, const char *arg, int variant)
{
	xn_db_set_string(s->db, s->vdi, XN_VDI_type, "user");
	xn_db_set_bool(s->db, s->vdi, XN_VDI_managed, variant == 0);
	refused(s, XN_ERR_SR_NOT_EMPTY, 0);
	if (variant == 1)
		fine(s);
	return variant < 2;
}

static bool sr_busy(struct scene *s, const char *arg, int variant)
{
	const struct xn_enum *all = operations_of(s);
	char spelled_so[64];
	const char *name;

	if (variant >= (int)all->n_values)
		return false;
	name = all->values[variant];
	runs(s, s->sr, XN_SR_current_operations, name);
	if (strncmp(name, "vdi_", 4) == 0)
		snprintf(spelled_so, sizeof(spelled_so), "VDI.%s", name + 4);
	else if (strncmp(name, "pbd_", 4) == 0)
		snprintf(spelled_so, sizeof(spelled_so), "PBD.%s", name + 4);
	else
		snprintf(spelled_so, sizeof(spelled_so), "%s", name);
	refused(s, XN_ERR_OTHER_OPERATION_IN_PROGRESS, 4, "SR", me(s), spelled_so, task_a);
	if (strcmp(name, arg) == 0)
		fine(s);
	return true;
}

static bool sr_cluster_stack(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->pool, XN_pool_ha_enabled, true);
	xn_db_set_string(s->db, s->pool, XN_pool_ha_cluster_stack, "mine");
	fine(s);
	if (variant < 2) {
		xn_db_set_add(s->db, s->sm, XN_SM_required_cluster_stack, "theirs");
		xn_db_set_add(s->db, s->sm, XN_SM_required_cluster_stack,
			      variant ? "mine" : "others");
	}
	if (variant == 0)
		refused(s, XN_ERR_INCOMPATIBLE_CLUSTER_STACK_ACTIVE, 1, "theirs,others");
	if (variant == 3) {
		xn_db_set_string(s->db, s->sr, XN_SR_type, "nobody knows");
		refused(s, XN_ERR_INTERNAL_ERROR, 1, "~");
	}
	return variant < 4;
}

/* ---- host ---- */

static bool host_busy(struct scene *s, const char *arg, int variant)
{
	static const char *const leaving[] = {"evacuate", "reboot", "shutdown", NULL};
	static const char *const arriving[][2] = {{"provision", "provision"},
						  {"vm_resume", "VM.resume"},
						  {"vm_migrate", "VM.migrate"}};
	const char *name = arg, *spelled_so = arg;

	if (variant >= (strcmp(arg, "leaving") == 0 || strcmp(arg, "arriving") == 0 ? 3 : 1))
		return false;
	if (strcmp(arg, "leaving") == 0)
		name = spelled_so = leaving[variant];
	if (strcmp(arg, "arriving") == 0) {
		name = arriving[variant][0];
		spelled_so = arriving[variant][1];
	}
	xn_db_set(s->db, s->host, XN_host_current_operations, xn_map_new());
	runs(s, s->host, XN_host_current_operations, name);
	return refused(s, XN_ERR_OTHER_OPERATION_IN_PROGRESS, 4, "host", me(s), spelled_so, task_a);
}

static bool host_enabled(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->host, XN_host_enabled, true);
	refused(s, XN_ERR_HOST_NOT_DISABLED, 0);
	return variant == 0;
}

static bool host_live(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, xn_row_follow(s->db, s->host, XN_host_metrics), XN_host_metrics_live,
		       true);
	refused(s, XN_ERR_HOST_IS_LIVE, 1, me(s));
	return variant == 0;
}

static bool host_no_power_on(struct scene *s, const char *arg, int variant)
{
	xn_db_set_string(s->db, s->host, XN_host_power_on_mode, "");
	refused(s, XN_ERR_HOST_POWER_ON_MODE_DISABLED, 0);
	return variant == 0;
}

static bool host_no_plugin(struct scene *s, const char *arg, int variant)
{
	refused(s, XN_ERR_XENAPI_MISSING_PLUGIN, 1, "~");
	return variant == 0;
}

static bool host_degraded(struct scene *s, const char *arg, int variant)
{
	struct xn_row *down =
		make_rowf(s, XN_CLASS_host, "{'metrics':'%s'}",
			  xn_row_ref(make_row(s, XN_CLASS_host_metrics, "{'live':false}")));

	xn_db_set_bool(s->db, s->sr, XN_SR_clustered, true);
	refused(s, XN_ERR_CLUSTERED_SR_DEGRADED, 1, xn_row_ref(s->sr));
	if (variant == 0 || variant >= 2)
		make_rowf(s, XN_CLASS_Cluster_host, "{'host':'%s','enabled':true}",
			  xn_row_ref(down));
	if (variant == 1)
		make_row(s, XN_CLASS_task, "{'name_label':'SR Recovering','status':'pending'}");
	if (variant == 2) {
		xn_db_set_bool(s->db, s->pbd, XN_PBD_currently_attached, false);
		fine(s);
	}
	if (variant == 3) {
		xn_db_set_bool(s->db, s->sr, XN_SR_clustered, false);
		fine(s);
	}
	return variant < 4;
}

/* ---- pool ---- */

static const char *const exclusive[][2] = {
	{"ha_enable", XN_ERR_HA_ENABLE_IN_PROGRESS},
	{"ha_disable", XN_ERR_HA_DISABLE_IN_PROGRESS},
	{"cluster_create", XN_ERR_CLUSTER_CREATE_IN_PROGRESS},
	{"designate_new_master", XN_ERR_DESIGNATE_NEW_MASTER_IN_PROGRESS},
	{"tls_verification_enable", XN_ERR_TLS_VERIFICATION_ENABLE_IN_PROGRESS},
	{"configure_repositories", XN_ERR_CONFIGURE_REPOSITORIES_IN_PROGRESS},
	{"sync_updates", XN_ERR_SYNC_UPDATES_IN_PROGRESS},
	{"sync_bundle", XN_ERR_SYNC_BUNDLE_IN_PROGRESS},
	{"apply_updates", XN_ERR_APPLY_UPDATES_IN_PROGRESS},
};

static bool pool_rotation(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->pool, XN_pool_is_psr_pending, true);
	refused(s, XN_ERR_POOL_SECRET_ROTATION_PENDING, 0);
	return variant == 0;
}

static bool pool_runs(struct scene *s, const char *arg, int variant)
{
	char task[48];

	snprintf(task, sizeof(task), "OpaqueRef:%s", arg);
	put(s, s->pool, XN_pool_current_operations, task, arg);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(exclusive); i++)
		if (strcmp(exclusive[i][0], arg) == 0)
			refused(s, exclusive[i][1], 0);
	return variant == 0;
}

static bool pool_exclusive(struct scene *s, const char *arg, int variant)
{
	if (variant >= (int)XN_ARRAY_SIZE(exclusive))
		return false;
	runs(s, s->pool, XN_pool_current_operations, exclusive[variant][0]);
	return refused(s, XN_ERR_OTHER_OPERATION_IN_PROGRESS, 4, "pool", me(s),
		       exclusive[variant][0], task_a);
}

static bool pool_busy(struct scene *s, const char *arg, int variant)
{
	static const char *const patient[] = {"cert_refresh",
					      "exchange_certificates_on_join",
					      "exchange_ca_certificates_on_join",
					      "copy_primary_host_certs",
					      "eject",
					      "get_updates",
					      "exchange_crls_on_join"};

	if (variant >= (int)XN_ARRAY_SIZE(patient))
		return false;
	put(s, s->pool, XN_pool_current_operations, task_b, patient[variant]);
	return refused(s, XN_ERR_OTHER_OPERATION_IN_PROGRESS, 4, "pool", me(s), patient[variant],
		       task_b);
}

static void pool_be_ha(struct scene *s, const char *arg)
{
	xn_db_set_bool(s->db, s->pool, XN_pool_ha_enabled, true);
}

static bool pool_no_ha(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->pool, XN_pool_ha_enabled, false);
	refused(s, XN_ERR_HA_NOT_ENABLED, 0);
	return variant == 0;
}

static bool pool_ha(struct scene *s, const char *arg, int variant)
{
	pool_be_ha(s, arg);
	refused(s, XN_ERR_HA_IS_ENABLED, 0);
	return variant == 0;
}

static bool pool_cluster(struct scene *s, const char *arg, int variant)
{
	make_row(s, XN_CLASS_Cluster, "{}");
	refused(s, XN_ERR_CLUSTER_ALREADY_EXISTS, 0);
	return variant == 0;
}

static bool pool_ha_stack(struct scene *s, const char *arg, int variant)
{
	pool_be_ha(s, arg);
	xn_db_set_string(s->db, s->pool, XN_pool_ha_cluster_stack, "mine");
	refused(s, XN_ERR_INCOMPATIBLE_CLUSTER_STACK_ACTIVE, 1, "mine");
	return variant == 0;
}

/* ---- appliance, clusters ---- */

static bool list_busy(struct scene *s, const char *arg, int variant)
{
	const struct xn_enum *all = operations_of(s);
	char names[96], tasks[128];

	if (variant < (int)all->n_values)
		return device_busy(s, "", variant);
	runs(s, s->row, current_field(s), all->values[0]);
	put(s, s->row, current_field(s), task_b, all->values[1]);
	snprintf(names, sizeof(names), "{%s,%s}", all->values[0], all->values[1]);
	snprintf(tasks, sizeof(tasks), "{%s,%s}", task_a, task_b);
	refused(s, XN_ERR_OTHER_OPERATION_IN_PROGRESS, 4, xn_classes[s->class_id].name, me(s),
		names, tasks);
	return variant == (int)all->n_values;
}

static bool appliance_empty(struct scene *s, const char *arg, int variant)
{
	xn_db_set_string(s->db, s->vm, XN_VM_appliance, XN_NULL_REF);
	refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	return variant == 0;
}

/* Two VMs: the second one says whether there is still something to do. */
static bool appliance_states(struct scene *s, const char *wrong, const char *right, int variant)
{
	set_state(s, wrong);
	make_rowf(s, XN_CLASS_VM, "{'appliance':'%s','power_state':'%s'}", me(s),
		  variant ? right : wrong);
	refused(s, XN_ERR_OPERATION_NOT_ALLOWED, 1, "~");
	if (variant)
		fine(s);
	return variant < 2;
}

static void appliance_be_halted(struct scene *s, const char *arg)
{
	set_state(s, "Halted");
}

static bool appliance_none_halted(struct scene *s, const char *arg, int variant)
{
	return appliance_states(s, "Running", "Halted", variant);
}

static bool appliance_none_running(struct scene *s, const char *arg, int variant)
{
	return appliance_states(s, "Paused", "Running", variant);
}

static bool appliance_all_halted(struct scene *s, const char *arg, int variant)
{
	return appliance_states(s, "Halted", "Suspended", variant);
}

static bool cluster_host_apart(struct scene *s, const char *arg, int variant)
{
	xn_db_set_bool(s->db, s->row, XN_Cluster_host_joined, false);
	refused(s, XN_ERR_CLUSTER_HOST_NOT_JOINED, 1, me(s));
	return variant == 0;
}

/* ---- the words ---- */

static const struct check checks[] = {
	{-1, "upgrade", NULL, upgrade},

	{XN_CLASS_VM, "blocked", NULL, vm_blocked},
	{XN_CLASS_VM, "state", in_right_state, wrong_state},
	{XN_CLASS_VM, "busy", NULL, vm_busy},
	{XN_CLASS_VM, "template", NULL, vm_template},
	{XN_CLASS_VM, "default-template", NULL, vm_default_template},
	{XN_CLASS_VM, "snapshot", NULL, vm_snapshot},
	{XN_CLASS_VM, "no-template", vm_be_template, vm_no_template},
	{XN_CLASS_VM, "no-snapshot", vm_be_snapshot, vm_no_snapshot},
	{XN_CLASS_VM, "immobile", NULL, vm_immobile},
	{XN_CLASS_VM, "nested", NULL, vm_nested},
	{XN_CLASS_VM, "domain-zero", NULL, vm_domain_zero},
	{XN_CLASS_VM, "control-domain", NULL, vm_control_domain},
	{XN_CLASS_VM, "cannot-suspend", vm_be_live, vm_cannot_suspend},
	{XN_CLASS_VM, "lacks", vm_be_live, vm_lacks},
	{XN_CLASS_VM, "no-quiesce", NULL, vm_no_quiesce, .always = true},
	{XN_CLASS_VM, "reset-disk", NULL, vm_reset_disk},
	{XN_CLASS_VM, "cached-reset-disk", NULL, vm_cached_reset_disk},
	{XN_CLASS_VM, "pci", NULL, vm_pci},
	{XN_CLASS_VM, "vgpu", NULL, vm_vgpu},
	{XN_CLASS_VM, "vusb", NULL, vm_vusb},
	{XN_CLASS_VM, "appliance", NULL, vm_appliance},
	{XN_CLASS_VM, "policy", NULL, vm_policy},
	{XN_CLASS_VM, "schedule", NULL, vm_schedule},
	{XN_CLASS_VM, "no-system-domain", vm_be_system, vm_no_system},
	{XN_CLASS_VM, "vtpm", NULL, vm_vtpm},

	{XN_CLASS_VBD, "busy", NULL, device_busy},
	{XN_CLASS_VBD, "fixed", NULL, vbd_fixed},
	{XN_CLASS_VBD, "no-cd", vbd_be_cd, vbd_no_cd},
	{XN_CLASS_VBD, "empty", NULL, vbd_empty},
	{XN_CLASS_VBD, "full", vbd_be_empty, vbd_full},
	{XN_CLASS_VBD, "attached", NULL, attached},
	{XN_CLASS_VBD, "detached", be_attached, detached},
	{XN_CLASS_VBD, "vm-state", NULL, vm_of_device_state},
	{XN_CLASS_VBD, "vm-leaves", NULL, vm_leaves},
	{XN_CLASS_VBD, "no-hotplug", NULL, no_hotplug},
	{XN_CLASS_VBD, "no-drivers", NULL, no_drivers},
	{XN_CLASS_VBD, "hvm-cd", NULL, vbd_hvm_cd},
	{XN_CLASS_VBD, "vm-suspended", NULL, vbd_vm_suspended},
	{XN_CLASS_VBD, "unmanaged", NULL, vbd_unmanaged},
	{XN_CLASS_VBD, "disk-busy", NULL, vbd_disk_busy},
	{XN_CLASS_VBD, "disk-shared", NULL, vbd_disk_shared, .executing_only = true},
	{XN_CLASS_VBD, "disk-read-only", NULL, vbd_disk_read_only, .executing_only = true},
	{XN_CLASS_VBD, "unsupported", NULL, vbd_unsupported},

	{XN_CLASS_VIF, "busy", NULL, device_busy_twice},
	{XN_CLASS_VIF, "domain-zero", NULL, vif_domain_zero},
	{XN_CLASS_VIF, "sriov", NULL, vif_sriov},
	{XN_CLASS_VIF, "attached", NULL, attached},
	{XN_CLASS_VIF, "detached", be_attached, detached},
	{XN_CLASS_VIF, "vm-state", NULL, vm_of_device_state},
	{XN_CLASS_VIF, "vm-leaves", NULL, vm_leaves},
	{XN_CLASS_VIF, "no-hotplug", NULL, no_hotplug},
	{XN_CLASS_VIF, "no-drivers", NULL, no_drivers},

	{XN_CLASS_VUSB, "busy", NULL, device_busy_twice},
	{XN_CLASS_VUSB, "attached", NULL, attached},
	{XN_CLASS_VUSB, "detached", be_attached, detached},
	{XN_CLASS_VUSB, "vm-state", NULL, vm_of_device_state},
	{XN_CLASS_VUSB, "vm-leaves", NULL, vm_leaves},

	{XN_CLASS_VTPM, "vm-state", vtpm_be_halted, vtpm_state},
	{XN_CLASS_VTPM, "listed-vm-state", vtpm_be_halted, vtpm_listed, .unlisted_only = true},

	{XN_CLASS_VDI, "busy", NULL, vdi_busy},
	{XN_CLASS_VDI, "unplugged", NULL, vdi_unplugged},
	{XN_CLASS_VDI, "used", NULL, vdi_used},
	{XN_CLASS_VDI, "written", NULL, vdi_written},
	{XN_CLASS_VDI, "used-by-vm", NULL, vdi_used_by_vm},
	{XN_CLASS_VDI, "vbd-busy", NULL, vdi_vbd_busy},
	{XN_CLASS_VDI, "lacks", NULL, lacks_feature},
	{XN_CLASS_VDI, "type", NULL, vdi_type},
	{XN_CLASS_VDI, "no-user-type", NULL, vdi_no_user_type},
	{XN_CLASS_VDI, "rrd", NULL, vdi_rrd},
	{XN_CLASS_VDI, "ha-type", NULL, vdi_ha_type},
	{XN_CLASS_VDI, "ha-enabled", NULL, vdi_ha_enabled},
	{XN_CLASS_VDI, "ha-comes", NULL, vdi_ha_comes},
	{XN_CLASS_VDI, "ha-goes", NULL, vdi_ha_goes},
	{XN_CLASS_VDI, "cbt", NULL, vdi_cbt},
	{XN_CLASS_VDI, "no-cbt", vdi_be_cbt, vdi_no_cbt},
	{XN_CLASS_VDI, "snapshot", NULL, vdi_snapshot},
	{XN_CLASS_VDI, "no-snapshot", vdi_be_snapshot, vdi_no_snapshot},
	{XN_CLASS_VDI, "no-snapshot-to-revert", vdi_be_snapshot, vdi_no_snapshot_to_revert},
	{XN_CLASS_VDI, "sharable", NULL, vdi_sharable},
	{XN_CLASS_VDI, "reset", NULL, vdi_reset},
	{XN_CLASS_VDI, "copied", NULL, vdi_copied},
	{XN_CLASS_VDI, "physical", NULL, vdi_physical},
	{XN_CLASS_VDI, "tools", NULL, vdi_tools},

	{XN_CLASS_SR, "lacks", NULL, lacks_feature},
	{XN_CLASS_SR, "plugged", sr_be_unplugged, sr_plugged},
	{XN_CLASS_SR, "no-pbd", NULL, sr_no_pbd},
	{XN_CLASS_SR, "has-disks", sr_be_empty, sr_has_disks},
	{XN_CLASS_SR, "busy", NULL, sr_busy},
	{XN_CLASS_SR, "cluster-stack", NULL, sr_cluster_stack},

	{XN_CLASS_host, "busy", NULL, host_busy},
	{XN_CLASS_host, "enabled", NULL, host_enabled},
	{XN_CLASS_host, "live", NULL, host_live},
	{XN_CLASS_host, "no-power-on", NULL, host_no_power_on},
	{XN_CLASS_host, "no-plugin", NULL, host_no_plugin, .always = true},
	{XN_CLASS_host, "degraded", NULL, host_degraded},

	{XN_CLASS_pool, "rotation", NULL, pool_rotation, .executing_only = true},
	{XN_CLASS_pool, "runs", NULL, pool_runs},
	{XN_CLASS_pool, "exclusive", NULL, pool_exclusive},
	{XN_CLASS_pool, "busy", NULL, pool_busy},
	{XN_CLASS_pool, "no-ha", pool_be_ha, pool_no_ha},
	{XN_CLASS_pool, "ha", NULL, pool_ha},
	{XN_CLASS_pool, "cluster", NULL, pool_cluster},
	{XN_CLASS_pool, "ha-stack", NULL, pool_ha_stack},

	{XN_CLASS_VM_appliance, "busy", NULL, list_busy},
	{XN_CLASS_VM_appliance, "empty", NULL, appliance_empty},
	{XN_CLASS_VM_appliance, "none-halted", appliance_be_halted, appliance_none_halted},
	{XN_CLASS_VM_appliance, "none-running", NULL, appliance_none_running},
	{XN_CLASS_VM_appliance, "all-halted", NULL, appliance_all_halted},

	{XN_CLASS_Cluster, "busy", NULL, list_busy},
	{XN_CLASS_Cluster_host, "busy", NULL, list_busy},
	{XN_CLASS_Cluster_host, "apart", NULL, cluster_host_apart},
};

const struct check *check_find(int class_id, const char *word)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(checks); i++)
		if ((checks[i].class_id == class_id || checks[i].class_id < 0) &&
		    strcmp(checks[i].word, word) == 0)
			return &checks[i];
	fail_msg("no check %s of %s", word, xn_classes[class_id].name);
	return NULL;
}
