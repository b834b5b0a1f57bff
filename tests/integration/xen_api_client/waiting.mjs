// Waiting with the npm client `xen-api`: all that is waited for is seen in the client's own cache,
// which only events fill.

export function waiting(xapi, deadline) {
	const within = (promise, what) => {
		let timer
		const late = new Promise((resolve, reject) => {
			timer = setTimeout(() => reject(new Error(`not in time: ${what}`)), deadline)
		})
		return Promise.race([promise, late]).finally(() => clearTimeout(timer))
	}

	// The cached object once it is as wanted; undefined once it is gone, if that is what is wanted.
	function seen(ref, what, isWanted) {
		let stop
		const wait = new Promise(resolve => {
			const look = () => {
				const object = xapi.getObjectByRef(ref, undefined)
				if (isWanted(object)) resolve(object)
			}
			const changes = ['add', 'update', 'remove']
			for (const change of changes) xapi.objects.on(change, look)
			stop = () => {
				for (const change of changes) xapi.objects.removeListener(change, look)
			}
			look()
		})
		return within(wait, what).finally(stop)
	}

	const becomes = (ref, fields) =>
		seen(ref, JSON.stringify(fields), object =>
			object !== undefined && Object.entries(fields).every(([key, value]) => object[key] === value))

	return { within, seen, becomes }
}
