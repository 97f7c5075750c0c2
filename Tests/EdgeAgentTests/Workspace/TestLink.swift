import Foundation
import SwiftProtobuf
import Synchronization
import WireFormat

@testable import EdgeAgent

/// One end of a link in memory, bounded in both directions as a real one is.
final class TestLink: MessageTransport {
    private final class Direction: Sendable {
        private let state = Mutex<(messages: [[UInt8]], isClosed: Bool)>(([], false))
        private let changed = Signal()
        private let bytes = Mutex(0)

        var total: Int { bytes.withLock { $0 } }

        func put(_ message: [UInt8]) async throws {
            while true {
                let ticket = changed.ticket
                let isTaken = try state.withLock { state in
                    guard !state.isClosed else { throw TransportClosure(code: 1006, reason: "cut") }
                    guard state.messages.count < 4 else { return false }
                    state.messages.append(message)
                    return true
                }
                if isTaken {
                    bytes.withLock { $0 += message.count }
                    return changed.wake()
                }
                try await changed.wait(after: ticket)
            }
        }

        func take() async throws -> [UInt8]? {
            while true {
                let ticket = changed.ticket
                let (message, isClosed) = state.withLock { state in
                    (state.messages.isEmpty ? nil : state.messages.removeFirst(), state.isClosed)
                }
                if let message {
                    changed.wake()
                    return message
                }
                if isClosed { return nil }
                try await changed.wait(after: ticket)
            }
        }

        func close() {
            state.withLock { $0.isClosed = true }
            changed.wake()
        }
    }

    private let outgoing: Direction
    private let incoming: Direction

    private init(_ outgoing: Direction, _ incoming: Direction) {
        self.outgoing = outgoing
        self.incoming = incoming
    }

    static func pair() -> (TestLink, TestLink) {
        let (up, down) = (Direction(), Direction())
        return (TestLink(up, down), TestLink(down, up))
    }

    /// Bytes sent from this end so far.
    var sentBytes: Int { outgoing.total }

    func send(_ message: [UInt8]) async throws { try await outgoing.put(message) }
    func receive() async throws -> [UInt8]? { try await incoming.take() }

    func cut() {
        outgoing.close()
        incoming.close()
    }

    func close(code: UInt16, reason: String) async { cut() }
}

/// A node with a workspace service, joined to a hub's session in memory.
struct TestNode: Sendable {
    let session: HubSession
    let agentLink: TestLink

    /// Runs a node for as long as the body does.
    static func run<Result: Sendable>(
        _ handler: @escaping @Sendable (WireStreamHeader, SessionStream) async -> Void,
        _ body: @escaping @Sendable (TestNode) async throws -> Result
    ) async throws -> Result {
        let (agentEnd, hubEnd) = TestLink.pair()
        let clock = SessionClock(unixMilliseconds: { 0 })
        let hub = HubSession(transport: hubEnd, clock: clock)
        let agent = AgentSession(transport: agentEnd, hello: WireHello(), clock: clock, heartbeat: { WireHeartbeat() })
        return try await withThrowingTaskGroup(of: Result?.self) { group in
            group.addTask {
                _ = await hub.run()
                return nil
            }
            group.addTask {
                _ = await agent.run()
                return nil
            }
            group.addTask {
                await withDiscardingTaskGroup { tasks in
                    for await event in agent.events {
                        if case .workspace(let header, let stream) = event {
                            tasks.addTask { await handler(header, stream) }
                        }
                    }
                    tasks.cancelAll()
                }
                return nil
            }
            group.addTask {
                var events = hub.events.makeAsyncIterator()
                guard case .hello? = await events.next() else { return nil }
                try hub.accept(WireWelcome())
                return try await body(TestNode(session: hub, agentLink: agentEnd))
            }
            defer { group.cancelAll() }
            while let result = try await group.next() {
                if let result { return result }
            }
            throw CancellationError()
        }
    }
}

/// Hands on what two nodes say, as the hub does.
enum TestRelay {
    /// - Returns: the target's report.
    /// - Parameters:
    ///   - limit: messages of the source after which the link is cut; nil: never.
    ///   - onManifest: called when the list has gone by, before the target says what it wants.
    static func run(
        from source: TestNode,
        to target: TestNode,
        bot: String = "bot",
        transfer: String = "t1",
        preview: Bool = false,
        rehash: Bool = false,
        takesLinks: Bool = true,
        cutAfter limit: Int? = nil,
        onManifest: @escaping @Sendable () -> Void = {}
    ) async throws -> WireSyncReport {
        var toTarget = WireStreamHeader()
        toTarget.syncTarget.botID = bot
        toTarget.syncTarget.transferID = transfer
        toTarget.syncTarget.preview = preview
        toTarget.syncTarget.rehash = rehash
        var toSource = WireStreamHeader()
        toSource.syncSource.botID = bot
        toSource.syncSource.transferID = transfer
        toSource.syncSource.takesLinks = takesLinks
        let down = try target.session.openStream(toTarget)
        let up = try source.session.openStream(toSource)
        return try await withThrowingTaskGroup(of: WireSyncReport?.self) { group in
            defer { group.cancelAll() }
            group.addTask {
                var count = 0
                while let message = try await up.receive() {
                    count += 1
                    if let limit, count > limit {
                        up.reset(.cancelled)
                        down.reset(.cancelled)
                        throw Cut()
                    }
                    if case .manifest(let manifest)? = try SyncSender.message(message).body, manifest.isLast {
                        onManifest()
                    }
                    try await down.send(message)
                }
                down.finish()
                return nil
            }
            group.addTask {
                while let bytes = try await down.receive() {
                    switch try WireSyncMessage(serializedBytes: bytes).body {
                    case .report(let report)?:
                        up.finish()
                        return report
                    case .progress?: continue
                    case .failure(let failure)?: throw Failed(code: failure.code, message: failure.message)
                    default: try await up.send(bytes)
                    }
                }
                return nil
            }
            while let result = try await group.next() {
                if let result { return result }
            }
            throw Failed(code: "none", message: "no report")
        }
    }

    struct Failed: Error {
        let code: String
        let message: String
    }

    struct Cut: Error {}
}
