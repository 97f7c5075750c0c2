import Foundation
import Logging
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("The history of resources")
struct ResourceHistoryTests {
    private func resources(_ cpu: Double, received: UInt64 = 0) -> WireNodeResources {
        var resources = WireNodeResources()
        resources.cpuPercent = cpu
        resources.load1M = 1
        resources.memoryTotalBytes = 1000
        resources.memoryAvailableBytes = 400
        resources.networkReceivedBytesTotal = received
        resources.bootTimeUnixMs = 1
        var disk = WireDiskUsage()
        disk.totalBytes = 100
        disk.availableBytes = 25
        resources.disks = [disk]
        return resources
    }

    @Test("keeps every sample for an hour, then means, and no more than its bound")
    func tiers() async throws {
        let hub = try TestHub()
        let node = try await hub.parts.nodes.create(name: "n", by: .hub).id
        let history = hub.parts.nodes.history
        let service = ResourceHistoryService(
            history: history,
            clock: hub.parts.clock,
            logger: Logger(label: "test")
        )
        // Three hours, every 15 s; the processor is at the number of the hour.
        for index in 0..<720 {
            history.note(
                node,
                resources(Double(index / 240), received: UInt64(index) * 1500),
                linkRTTMicroseconds: 2000,
                at: hub.now
            )
            hub.clock.advance(by: .seconds(15))
            if index % 40 == 39 { await service.step(isCondensing: true) }
        }
        let full = try await history.store.list(node, ResourceQuery(since: nil, until: nil, step: nil, now: hub.now))
        #expect((238...241).contains(full.count))
        #expect(full.allSatisfy { $0.cpuPercent == 2 && $0.diskUsedPercent == 75 && $0.linkRTTMilliseconds == 2 })
        #expect(full.allSatisfy { $0.networkReceived == 100 })
        let since = hub.now.addingTimeInterval(-3 * 3600)
        let query = ResourceQuery(since: since, until: nil, step: 300, now: hub.now)
        #expect(query.tier == .fiveMinutes && query.step == 300)
        let means = try await history.store.list(node, query)
        #expect((35...37).contains(means.count))
        #expect(means.first?.cpuPercent == 0 && means.last?.cpuPercent == 2)
        #expect(means.map(\.at) == means.map(\.at).sorted() && Set(means.map(\.at)).count == means.count)
        let hourly = try await history.store.list(
            node,
            ResourceQuery(since: hub.now.addingTimeInterval(-10 * 86_400), until: nil, step: nil, now: hub.now)
        )
        #expect((3...4).contains(hourly.count))
        #expect(try await history.store.count(.full) <= 245, "what is older than an hour is gone")
        // A month later all of it is.
        hub.clock.advance(by: .seconds(31 * 86_400))
        await service.step(isCondensing: true)
        for tier in ResourceTier.allCases { #expect(try await history.store.count(tier) == 0) }
    }

    @Test("takes no sample too soon after another, none of a reboot for a rate, and forgets a deleted node's")
    func bounds() async throws {
        let hub = try TestHub()
        let node = try await hub.parts.nodes.create(name: "n", by: .hub).id
        let history = hub.parts.nodes.history
        history.note(node, resources(1, received: 5000), linkRTTMicroseconds: 0, at: hub.now)
        history.note(node, resources(2), linkRTTMicroseconds: 0, at: hub.now.addingTimeInterval(1))
        history.note(node, resources(3, received: 10), linkRTTMicroseconds: 0, at: hub.now.addingTimeInterval(10))
        hub.clock.advance(by: .seconds(20))
        try await history.flush()
        let all = try await history.store.list(node, ResourceQuery(since: nil, until: nil, step: nil, now: hub.now))
        #expect(all.map(\.cpuPercent) == [1, 3])
        #expect(all.allSatisfy { $0.networkReceived == nil })
        history.note(node, resources(4), linkRTTMicroseconds: 0, at: hub.now)
        try await hub.parts.nodes.delete(node, by: .hub, channel: hub.channel)
        try await history.flush()
        try await hub.retention().deletions()
        #expect(try await history.store.count(.full) == 0)
    }

    @Test("chooses a step that gives a bounded number of points, whatever is asked for")
    func queries() {
        let now = TestHub.start
        for days in [0.01, 1, 2, 30, 4000] {
            for step in [nil, 1, 60, 86_400] as [Int64?] {
                let query = ResourceQuery(
                    since: now.addingTimeInterval(-days * 86_400),
                    until: nil,
                    step: step,
                    now: now
                )
                let range = query.until.timeIntervalSince(query.since)
                #expect(range <= 30 * 86_400)
                guard query.step > 0 else { continue }
                #expect(Int64(range) / query.step <= ResourceQuery.maximumPoints)
                #expect(query.step % max(1, query.tier.rawValue) == 0)
            }
        }
        let future = ResourceQuery(
            since: now.addingTimeInterval(999),
            until: now.addingTimeInterval(-5),
            step: nil,
            now: now
        )
        #expect(future.since <= future.until)
    }
}
