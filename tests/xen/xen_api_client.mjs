// Drives one real guest with the npm client `xen-api`, unmodified: xen_api_client.mjs URL PASSWORD VM
// All that is waited for is seen in the client's own cache, which only events fill.

import assert from 'node:assert/strict'
import { Xapi } from 'xen-api'

import { waiting } from './waiting.mjs'

const DEADLINE = 240e3
const [url, password, vm] = process.argv.slice(2)
const xapi = new Xapi({ url, auth: { user: 'root', password }, debounce: 20, eventPollDelay: 100 })

const { within, seen, becomes } = waiting(xapi, DEADLINE)
const run = (method, ...args) => within(xapi.callAsync(method, ...args), method)

async function main() {
	await within(xapi.connect(), 'the connection')
	await within(xapi.objectsFetched, 'the objects')
	await run('VM.start', vm, false, false)
	const running = await becomes(vm, { power_state: 'Running' })
	assert.notEqual(running.domid, -1)
	assert.equal(running.$resident_on?.$type, 'host')
	for (const device of [...running.VBDs, ...running.VIFs]) await becomes(device, { currently_attached: true })
	const { guest_metrics: metrics } = await seen(vm, 'guest metrics', o => o !== undefined && o.guest_metrics !== 'OpaqueRef:NULL')
	await seen(metrics, 'its drivers', o => o?.PV_drivers_version.major === '9')
	await run('VM.pause', vm)
	await becomes(vm, { power_state: 'Paused' })
	await run('VM.unpause', vm)
	await becomes(vm, { power_state: 'Running' })
	await run('VM.clean_shutdown', vm)
	const halted = await becomes(vm, { power_state: 'Halted' })
	assert.equal(halted.resident_on, 'OpaqueRef:NULL')
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
