// Drives the daemon with the npm client `xen-api`, unmodified, the way Xen Orchestra does:
//
//	client.mjs URL PASSWORD json-rpc|xml-rpc
//
// Everything that is waited for is seen in the client's own cache, which only events fill. Prints
// "restart" and waits for a line on stdin when it wants the daemon killed and started again.

import assert from 'node:assert/strict'
import readline from 'node:readline'
import { Xapi } from 'xen-api'

import { waiting } from './waiting.mjs'

const DEADLINE = 30e3
const TEMPLATE = 'Debian Bookworm 12'

const [url, password, transport] = process.argv.slice(2)
const xapi = new Xapi({
	url,
	auth: { user: 'root', password },
	transport,
	allowUnauthorized: true,
	debounce: 20,
	eventPollDelay: 100, // after an error; a minute in production
})
// A call that fails while the daemon is down is the restart's part of the story.
xapi.on('eventFetchingError', () => {})

const { within, seen, becomes } = waiting(xapi, DEADLINE)
const cached = type => Object.values(xapi.objects.indexes.type[type] ?? {})
const rejects = (promise, code) =>
	assert.rejects(within(promise, code), error => error.code === code || assert.fail(`${error}`))

// ---- what a client does ----

async function seesEveryObject() {
	const methods = await xapi.call('system.listMethods').catch(() => undefined)
	const types = xapi._types ?? methods.filter(name => name.endsWith('.get_all_records')).map(name => name.slice(0, -16))
	assert(types.includes('VM') && types.includes('VM_guest_metrics') && types.includes('pool'))
	for (const type of types) {
		if (type === 'task') continue // this client's own calls come and go
		const refs = Object.keys(await xapi.call(`${type}.get_all_records`))
		for (const ref of refs) {
			const object = await seen(ref, `${type} ${ref}`, o => o !== undefined)
			assert.equal(object.$type, type)
		}
		assert.equal(cached(type).length, refs.length, `objects of ${type}`)
	}
	assert.equal(cached('pool').length, 1)
	assert.equal(xapi.pool.$master.$type, 'host')
	assert.equal(xapi.pool.$master.$metrics.live, true)
}

async function renames(ref) {
	const before = xapi.getObjectByRef(ref).name_label
	const name = `renamed <&> "\u00e9\u{1f600}" ${transport}`
	await xapi.getObjectByRef(ref).set_name_label(name)
	await becomes(ref, { name_label: name })
	await xapi.getObjectByRef(ref).update_other_config('xn-test', 'value')
	await seen(ref, 'other_config', vm => vm.other_config['xn-test'] === 'value')
	await xapi.getObjectByRef(ref).update_other_config('xn-test', null)
	await seen(ref, 'other_config without', vm => !('xn-test' in vm.other_config))
	await xapi.getObjectByRef(ref).set_name_label(before)
	// After a barrier everything from before it has arrived: nothing to wait for.
	const vm = await within(xapi.barrier(ref), 'the barrier')
	assert.equal(vm.name_label, before)
}

async function settlesTasks() {
	const network = await within(
		xapi.callAsync('network.create', { name_label: 'made by a task', name_description: '', MTU: 1500, other_config: {} }),
		'network.create'
	)
	await becomes(network, { name_label: 'made by a task' })
	assert.equal(await within(xapi.callAsync('network.destroy', network), 'network.destroy'), '')
	await seen(network, 'no network', object => object === undefined)
	await rejects(xapi.callAsync('network.destroy', network), 'HANDLE_INVALID')

	const task = await xapi.createTask('a task of ours')
	// The event may come before the reply to the call that causes it: listen from the start.
	const cancelled = assert.rejects(
		within(xapi.watchTask(task), 'the cancelled task'),
		error => error.constructor.name === 'Cancel'
	)
	await becomes(task, { name_label: 'a task of ours', status: 'pending' })
	await xapi.call('task.set_progress', task, 0.42)
	await becomes(task, { progress: 0.42 })
	await xapi.call('task.set_status', task, 'cancelled')
	await cancelled
}

async function installsAndRuns() {
	const template = cached('VM').find(vm => vm.is_a_template && vm.name_label === TEMPLATE)
	assert(template, `no template ${TEMPLATE}`)
	const ref = await within(xapi.callAsync('VM.clone', template.$ref, `npm ${transport}`), 'VM.clone')
	const vm = await becomes(ref, { name_label: `npm ${transport}`, power_state: 'Halted' })
	await vm.update_other_config('disks', null)
	await within(xapi.callAsync('VM.provision', ref), 'VM.provision')
	await becomes(ref, { is_a_template: false })

	const vdi = await xapi.call('VDI.create', {
		name_label: 'a disk', name_description: '', virtual_size: 1 << 20, SR: xapi.pool.default_SR, type: 'user',
		sharable: false, read_only: false, other_config: {},
	})
	const [device] = await xapi.call('VM.get_allowed_VBD_devices', ref)
	const vbd = await xapi.call('VBD.create', {
		bootable: true, device, empty: false, mode: 'RW', other_config: {}, qos_algorithm_params: {},
		qos_algorithm_type: '', type: 'Disk', unpluggable: false, userdevice: device, VDI: vdi, VM: ref,
	})
	await seen(vdi, 'the VBD', object => object?.VBDs.includes(vbd))
	const network = cached('network')[0].$ref
	const vif = await xapi.call('VIF.create', {
		device: '0', network, VM: ref, MAC: '', MTU: 1500, other_config: {}, locking_mode: 'network_default',
		qos_algorithm_type: '', qos_algorithm_params: {}, ipv4_allowed: [], ipv6_allowed: [],
	})
	await seen(ref, 'the VIF', object => object.VIFs.includes(vif))

	await xapi.call('VM.start', ref, false, false)
	const running = await becomes(ref, { power_state: 'Running' })
	assert.notEqual(running.domid, -1)
	assert.equal(running.$resident_on?.$type, 'host')
	for (const device of [vbd, vif]) await becomes(device, { currently_attached: true })
	await seen(ref, 'guest metrics', object => object.guest_metrics !== 'OpaqueRef:NULL')
	await rejects(xapi.call('VM.start', ref, false, false), 'VM_BAD_POWER_STATE')
	await rejects(xapi.callAsync('VM.unpause', ref), 'VM_BAD_POWER_STATE')
	await within(xapi.callAsync('VM.pause', ref), 'VM.pause')
	await becomes(ref, { power_state: 'Paused' })
	await within(xapi.callAsync('VM.unpause', ref), 'VM.unpause')
	await becomes(ref, { power_state: 'Running' })
	return ref
}

async function shutsDown(ref) {
	await within(xapi.callAsync('VM.clean_shutdown', ref), 'VM.clean_shutdown')
	const halted = await becomes(ref, { power_state: 'Halted' })
	assert.equal(halted.resident_on, 'OpaqueRef:NULL')
	await seen(ref, 'nothing under way', vm => Object.keys(vm.current_operations).length === 0)
	const vdis = halted.$VBDs.filter(vbd => vbd.type === 'Disk').map(vbd => vbd.VDI)
	await within(xapi.callAsync('VM.destroy', ref), 'VM.destroy')
	await seen(ref, 'the VM gone', object => object === undefined)
	for (const vbd of halted.VBDs) await seen(vbd, 'its VBD gone', object => object === undefined)
	assert.equal(vdis.length, 1)
	for (const vdi of vdis) {
		assert.equal((await becomes(vdi, { name_label: 'a disk' })).VBDs.length, 0) // it stays
		await within(xapi.callAsync('VDI.destroy', vdi), 'VDI.destroy')
		await seen(vdi, 'the VDI gone', object => object === undefined)
	}
}

async function outlivesARestart(ref) {
	const lines = readline.createInterface({ input: process.stdin })
	const restarted = new Promise(resolve => lines.once('line', resolve))
	console.log('restart')
	await within(restarted, 'the restart')
	lines.close()
	assert.equal((await becomes(ref, { power_state: 'Running' })).$ref, ref)
	await renames(ref)
}

async function main() {
	await within(xapi.connect(), 'the connection')
	await within(xapi.objectsFetched, 'the objects')
	await seesEveryObject()
	await renames(cached('VM').find(vm => vm.is_control_domain).$ref)
	await settlesTasks()
	const vm = await installsAndRuns()
	await outlivesARestart(vm)
	await shutsDown(vm)
	await xapi.disconnect()
}

try {
	await main()
	console.log('done')
	process.exit(0) // the client's event loop would wait for ever
} catch (error) {
	console.error(error)
	process.exit(1)
}
