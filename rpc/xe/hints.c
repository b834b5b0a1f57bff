/*
 * What to do next: a sentence behind an API error, for people at our own client. Only where something can
 * be said that the error does not say itself.
 */
#include <stdlib.h>
#include <strings.h>

#include "rpc/xe/engine_internal.h"
#include "rpc/xe/record/record.h"

/* The kind that people would list to see the objects of a class. */
static const struct xe_kind *kind_of_class(const char *name)
{
	const struct xe_kind *kind, *first = NULL;

	for (unsigned i = 0; (kind = xe_kind_at(i)); i++) {
		if (strcmp(xn_classes[xe_kind_class(kind)].name, name) != 0)
			continue;
		if (strcasecmp(xe_kind_prefix(kind), name) == 0)
			return kind;
		first = first ? first : kind;
	}
	return first;
}

static char *hint_of_lost(const struct xn_error *err)
{
	const struct xe_kind *kind = err->n_params ? kind_of_class(err->params[0]) : NULL;

	return kind ? xn_asprintf("'xe %s-list' tells which there are", xe_kind_prefix(kind)) : NULL;
}

static char *hint_of_power_state(const struct xn_error *err)
{
	static const struct {
		const char *actual, *hint;
	} states[] = {
		{"running", "It runs: 'xe vm-shutdown' stops it, 'xe vm-reboot' starts it anew"},
		{"halted", "It does not run: 'xe vm-start' starts it"},
		{"suspended", "It is suspended: 'xe vm-resume' lets it go on"},
		{"paused", "It is paused: 'xe vm-unpause' lets it go on"},
	};

	for (size_t i = 0; err->n_params > 2 && i < XN_ARRAY_SIZE(states); i++)
		if (strcasecmp(err->params[2], states[i].actual) == 0)
			return xn_strdup(states[i].hint);
	return NULL;
}

static const struct {
	const char *code, *hint;
} hints[] = {
	{XN_ERR_HOST_NOT_ENOUGH_FREE_MEMORY,
	 "Shut a VM down ('xe vm-list power-state=running'), or give this one less: 'xe vm-memory-set'"},
	{XN_ERR_NO_HOSTS_AVAILABLE, "'xe host-list params=name-label,enabled,memory-free' tells why"},
	{XN_ERR_HOST_DISABLED, "'xe host-enable' enables it"},
	{XN_ERR_SR_FULL, "Delete disks ('xe vdi-list'), or take another SR: 'xe sr-list params=all' tells "
			 "what is free"},
	{XN_ERR_OUT_OF_SPACE, "Make room there, then try again"},
	{XN_ERR_RBAC_PERMISSION_DENIED,
	 "Somebody with the role pool-admin can give you one that permits it: 'xe subject-role-add'"},
	{XN_ERR_PERMISSION_DENIED, "Log in as somebody who may: -u and -pw"},
	{XN_ERR_SESSION_AUTHORIZATION_FAILED,
	 "Somebody with the role pool-admin can let you in: 'xe subject-add', 'xe subject-role-add'"},
	{XN_ERR_SESSION_INVALID, "Log in anew"},
	{XN_ERR_OTHER_OPERATION_IN_PROGRESS, "'xe task-list' tells what goes on; try again when it is over"},
	{XN_ERR_OPERATION_BLOCKED, "'xe vm-param-remove param-name=blocked-operations' lifts it"},
	{XN_ERR_VM_IS_TEMPLATE, "'xe vm-install template=...' makes a VM of a template"},
	{XN_ERR_VDI_IN_USE, "'xe vbd-list vdi-uuid=...' tells which VM has it"},
	{XN_ERR_DEVICE_ALREADY_EXISTS, "Take another number: 'xe vbd-list vm-uuid=...' tells those in use"},
	{XN_ERR_NETWORK_CONTAINS_VIF, "'xe vif-list network-uuid=...' tells whose; 'xe vif-destroy' removes one"},
	{XN_ERR_SR_HAS_NO_PBDS, "'xe pbd-create' and 'xe pbd-plug' connect it to a host"},
	{XN_ERR_SR_HAS_PBD, "'xe pbd-unplug' disconnects it"},
	{XN_ERR_DEFAULT_SR_NOT_FOUND, "Name one with sr-uuid=; 'xe sr-list' tells which there are"},
	{XN_ERR_VBD_IS_EMPTY, "'xe cd-list' tells what can be put in"},
	{XN_ERR_MEMORY_CONSTRAINT_VIOLATION_ORDER, "'xe vm-memory-limits-set' sets all four at once"},
	{XN_ERR_TOO_MANY_PENDING_TASKS, "Try again when some of them are over: 'xe task-list'"},
};

void xe_hint_error(struct xe_line *line, const struct xn_error *err)
{
	if (!line->is_ours || line->hint)
		return;
	if (strcmp(err->code, XN_ERR_UUID_INVALID) == 0 || strcmp(err->code, XN_ERR_HANDLE_INVALID) == 0)
		line->hint = hint_of_lost(err);
	else if (strcmp(err->code, XN_ERR_VM_BAD_POWER_STATE) == 0)
		line->hint = hint_of_power_state(err);
	for (size_t i = 0; !line->hint && i < XN_ARRAY_SIZE(hints); i++)
		if (strcmp(err->code, hints[i].code) == 0)
			line->hint = xn_strdup(hints[i].hint);
}
