import Testing
import WireFormat

@testable import ControlHub

@Suite("Turns of copies of logs", .timeLimit(.minutes(1)))
struct LogCopySlotsTests {
    private let node = NodeID(rawValue: "n")

    @Test("go to who came first, and who has one learns that others wait")
    func inOrder() async throws {
        let slots = LogCopySlots(perNode: 2)
        try await slots.enter(node)
        try await slots.enter(node)
        // Another node's are its own.
        try await slots.enter(NodeID(rawValue: "other"))
        let wanted = Task { try await slots.waitUntilWanted(node) }  // ends with the first that waits
        let third = Task { try await slots.enter(node) }  // ends below
        try await wanted.value
        let fourth = Task { try await slots.enter(node) }  // cancelled below
        slots.leave(node)
        try await third.value
        fourth.cancel()
        await #expect(throws: CancellationError.self) { try await fourth.value }
        // Who has given up holds up nobody.
        slots.leave(node)
        try await slots.enter(node)
    }

    @Test("wake nobody on another node, and leave nothing behind")
    func byNode() async throws {
        let slots = LogCopySlots(perNode: 1)
        let other = NodeID(rawValue: "other")
        try await slots.enter(node)
        let waiting = Task { try await slots.enter(node) }  // ends below
        while slots.waiting(node) == 0 { await Task.yield() }
        let before = slots.changes(node)
        for _ in 0..<100 {
            try await slots.enter(other)
            slots.leave(other)
        }
        #expect(slots.changes(node) == before)
        slots.leave(node)
        try await waiting.value
        slots.leave(node)
        #expect(slots.nodeCount == 0)
    }

    @Test("leave streams to readers")
    func leavesSome() {
        #expect(LogCopySlots.perNode < StreamShare.followedLogs.maxStreams)
        let shares = [StreamShare.followedLogs, .logPages, .entries, .files, .transfers]
        #expect(shares.reduce(0) { $0 + $1.maxStreams } <= MuxLimits().maxOutgoingStreams - 32)
    }
}
