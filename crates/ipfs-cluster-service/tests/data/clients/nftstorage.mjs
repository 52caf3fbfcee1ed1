// Drives a peer with `@nftstorage/ipfs-cluster`: `node nftstorage.mjs CLIENT_FOLDER API_URL`.

import assert from 'node:assert/strict'

const [folder, url] = process.argv.slice(2)
const { Cluster } = await import(`${folder}/src/index.js`)
const cluster = new Cluster(url)

const until = async (cid, word) => {
  const end = Date.now() + 60_000
  for (;;) {
    const states = Object.values((await cluster.status(cid)).peerMap).map((peer) => peer.status)
    if (states.every((state) => state === word)) return
    assert(Date.now() < end, `${cid} stays ${states}, and not ${word}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

assert.match(await cluster.version(), /^\d+\.\d+\.\d+/)
const { id } = await cluster.info()
assert.deepEqual((await cluster.peerList()).map((peer) => peer.id), [id])

// One file: added, pinned, found, recovered, unpinned.
const added = await cluster.add(new File(['hello world'], 'hello.txt'), { name: 'hello', cidVersion: 1 })
assert.equal(added.cid, 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e')
await until(added.cid, 'pinned')
const allocation = await cluster.allocation(added.cid)
assert.equal(allocation.name, 'hello')
assert.equal((await cluster.statusAll({ filter: 'pinned' })).length, 1)
assert.equal((await cluster.recover(added.cid)).cid, added.cid)
await cluster.unpin(added.cid)
await until(added.cid, 'unpinned')

// The same by its CID, with options, and a directory.
await cluster.pin(added.cid, { name: 'again', metadata: { where: 'there' } })
await until(added.cid, 'pinned')
assert.deepEqual((await cluster.allocation(added.cid)).metadata, { where: 'there' })
const files = [new File(['a'], 'a.txt'), new File(['b'], 'b.txt')]
const listed = await cluster.addDirectory(files)
assert.deepEqual(listed.map((entry) => entry.name), ['a.txt', 'b.txt', ''])
await until(listed[2].cid, 'pinned')

// What is wrong says so.
await assert.rejects(cluster.pin('no-cid'), /400/)
await assert.rejects(cluster.add(new File(['x'], 'x'), { replicationFactorMin: 9, replicationFactorMax: 9 }), /500/)
assert((await cluster.metricNames()).includes('freespace'))
console.log('all is well')
