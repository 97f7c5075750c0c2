import Foundation
import SwiftProtobuf
import Synchronization
import Testing
import WireFormat

@testable import ControlHub

/// A log on a node, as the agent serves it, and what was asked of it.
private final class LogOnNode: AgentChannel {
    private struct State {
        var lines: [WireLogLine] = []
        var end: UInt64 = 0
        var follows = 0
        var openFollows = 0
        /// Of which lines were asked for.
        var nodes: Set<String> = []
        /// Grows with each cut of the link; streams of before are dead.
        var session = 1
        var isAway = false
    }

    private let state = Mutex(State())
    private let written = Signal()

    var follows: Int { state.withLock { $0.follows } }
    var openFollows: Int { state.withLock { $0.openFollows } }
    var nodes: Set<String> { state.withLock { $0.nodes } }

    /// The link breaks under whatever is open.
    func goAway() {
        state.withLock { state in
            state.isAway = true
            state.session += 1
        }
        written.wake()
    }

    func comeBack() {
        state.withLock { $0.isAway = false }
        written.wake()
    }

    func write(_ text: String) {
        state.withLock { state in
            state.lines.append(
                .with {
                    $0.offset = state.end
                    $0.text = Data(text.utf8)
                }
            )
            state.end += UInt64(text.utf8.count + 1)
        }
        written.wake()
    }

    func open(_ header: WireStreamHeader, on node: NodeID) async throws -> AgentStream {
        throw HubError(.nodeOffline, "Logs only.")
    }

    func ask(_ command: WireCommand, on node: NodeID, within limit: Duration) async throws -> WireCommandResult {
        throw HubError(.nodeOffline, "Logs only.")
    }

    func apply(_ settings: WireSessionSettings, on node: NodeID) async {}

    func logs(_ request: WireLogRequest, on node: NodeID) async throws -> LogSubscription {
        let (session, isAway) = state.withLock { state in
            state.nodes.insert(node.rawValue)
            return (state.session, state.isAway)
        }
        guard !isAway else { throw HubError(.nodeOffline, "The node is not connected.") }
        let start: UInt64 =
            switch request.start {
            case .fromOffset(let offset): offset
            case .tailLines(let count): state.withLock { $0.lines.suffix(Int(count)).first?.offset ?? $0.end }
            case nil: 0
            }
        let cursor = Mutex(start)
        let isCancelled = Mutex(false)
        if request.follow {
            state.withLock { state in
                state.follows += 1
                state.openFollows += 1
            }
        }
        return LogSubscription(
            next: { [self] in
                while true {
                    let ticket = written.ticket
                    if isCancelled.withLock({ $0 }) { return nil }
                    guard state.withLock({ $0.session }) == session else {
                        throw WireFormatError(.sessionClosed, "the link was cut")
                    }
                    let from = cursor.withLock { $0 }
                    let chunk = chunk(from: from)
                    if chunk.nextOffset > from {
                        cursor.withLock { $0 = chunk.nextOffset }
                        return chunk
                    }
                    guard request.follow else { return nil }
                    try await written.wait(after: ticket)
                }
            },
            cancel: { [self] in
                let wasOpen = isCancelled.withLock { isCancelled in
                    defer { isCancelled = true }
                    return !isCancelled
                }
                if request.follow, wasOpen { state.withLock { $0.openFollows -= 1 } }
                written.wake()
            }
        )
    }

    private func chunk(from offset: UInt64) -> WireLogChunk {
        state.withLock { state in
            .with {
                $0.lines = Array(state.lines.filter { $0.offset >= offset }.prefix(7))
                $0.nextOffset = $0.lines.last.map { $0.offset + UInt64($0.text.count) + 1 } ?? state.end
            }
        }
    }

    func isConnected(_ node: NodeID) async -> Bool { state.withLock { !$0.isAway } }

    func waitUntilConnected(_ node: NodeID) async throws {
        while true {
            let ticket = written.ticket
            if await isConnected(node) { return }
            try await written.wait(after: ticket)
        }
    }

    func disconnect(_ node: NodeID, code: UInt16, reason: String) async {}
}

@Suite("Following a log", .timeLimit(.minutes(1)))
struct LogFanOutTests {
    private let node = NodeID(rawValue: "n")

    private func fanOut(_ log: LogOnNode, placement: @escaping @Sendable () -> NodeID? = { NodeID(rawValue: "n") })
        -> LogFanOut
    {
        LogFanOut(channel: log) { _ in placement() }
    }

    private func request(_ start: WireLogRequest.OneOf_Start) -> WireLogRequest {
        .with {
            $0.botID = "b"
            $0.start = start
            $0.follow = true
        }
    }

    private func read(_ subscription: LogSubscription, until last: String) async throws -> [String] {
        var lines: [String] = []
        while lines.last != last, let chunk = try await subscription.next() {
            lines += chunk.lines.map { String(decoding: $0.text, as: UTF8.self) }
        }
        return lines
    }

    @Test("Many readers cost one stream, and each sees every line once and in order")
    func oneStream() async throws {
        let log = LogOnNode()
        for number in 1...50 { log.write("line \(number)") }
        let fanOut = fanOut(log)
        try await withThrowingTaskGroup(of: (Int, [String]).self) { group in
            for reader in 0..<8 {
                let subscription = try await fanOut.follow(request(.tailLines(UInt32(reader * 5))), on: node)
                group.addTask { (reader, try await self.read(subscription, until: "line 400")) }
            }
            for number in 51...400 {
                log.write("line \(number)")
                await Task.yield()
            }
            for try await (reader, lines) in group {
                // A reader that began while lines were written may have had a later tail; none has a hole.
                let first = try #require(lines.first.flatMap { Int($0.split(separator: " ")[1]) })
                #expect(lines == (first...400).map { "line \($0)" }, "reader \(reader)")
            }
        }
        #expect(log.follows >= 1 && log.openFollows <= 1)
        #expect(fanOut.counts.readers == 0 && fanOut.counts.feeds == 0)
    }

    @Test("A reader that falls behind reads on by itself, and misses nothing")
    func slowReader() async throws {
        let log = LogOnNode()
        let fanOut = fanOut(log)
        let filler = String(repeating: "x", count: 50_000)
        let fast = try await fanOut.follow(request(.fromOffset(0)), on: node)
        let slow = try await fanOut.follow(request(.fromOffset(0)), on: node)
        log.write("first")
        #expect(try await read(fast, until: "first") == ["first"])
        #expect(try await read(slow, until: "first") == ["first"])
        // Both have read what was there; what comes now comes by the feed.
        async let fastSecond = read(fast, until: "second")
        async let slowSecond = read(slow, until: "second")
        while fanOut.counts.readers < 2 {
            try Task.checkCancellation()
            await Task.yield()
        }
        log.write("second")
        #expect(try await fastSecond == ["second"])
        #expect(try await slowSecond == ["second"])
        // More than the feed holds, taken by the fast one alone.
        for number in 1...60 { log.write("\(number) \(filler)") }
        log.write("last")
        #expect(try await read(fast, until: "last").count == 61)
        let lines = try await read(slow, until: "last").map { $0.split(separator: " ")[0] }
        #expect(lines == (1...60).map { "\($0)" } + ["last"])
        #expect(log.openFollows == 1)
        fast.cancel()
        slow.cancel()
        slow.cancel()
        #expect(log.openFollows == 0 && fanOut.counts.feeds == 0)
    }

    @Test("When the reader that asks the stream goes away, another one asks")
    func readerLeaves() async throws {
        let log = LogOnNode()
        log.write("old")
        let fanOut = fanOut(log)
        let first = try await fanOut.follow(request(.fromOffset(0)), on: node)
        let second = try await fanOut.follow(request(.fromOffset(0)), on: node)
        #expect(try await read(first, until: "old") == ["old"])
        #expect(try await read(second, until: "old") == ["old"])
        let asking = Task { try await self.read(first, until: "new") }  // cancelled below
        let waiting = Task { try await self.read(second, until: "new") }  // ends with the line it waits for
        await Task.yield()
        asking.cancel()
        first.cancel()
        log.write("new")
        #expect(try await waiting.value == ["new"])
        second.cancel()
        #expect(log.openFollows == 0)
    }

    @Test("Readers whose node goes away read on where they were, by one stream again")
    func nodeAway() async throws {
        let log = LogOnNode()
        for number in 1...5 { log.write("line \(number)") }
        let fanOut = fanOut(log)
        let all = try await fanOut.follow(request(.fromOffset(0)), on: node)
        let tail = try await fanOut.follow(request(.tailLines(2)), on: node)
        // Has read nothing when the link is cut, and is still to begin with what was the end then or later.
        let late = try await fanOut.follow(request(.tailLines(1)), on: node)
        #expect(try await read(all, until: "line 5").count == 5)
        #expect(try await read(tail, until: "line 5") == ["line 4", "line 5"])
        log.goAway()
        for number in 6...9 { log.write("line \(number)") }
        async let rest = read(all, until: "line 12")
        async let tailRest = read(tail, until: "line 12")
        async let lateRest = read(late, until: "line 12")
        await expectHubError(.nodeOffline) { _ = try await fanOut.follow(request(.fromOffset(0)), on: node) }
        let resumed = try await fanOut.follow(request(.fromOffset(14)), on: node, isResuming: true)
        async let resumedRest = read(resumed, until: "line 12")
        log.comeBack()
        for number in 10...12 { log.write("line \(number)") }
        #expect(try await rest == (6...12).map { "line \($0)" })
        #expect(try await tailRest == (6...12).map { "line \($0)" })
        #expect(try await resumedRest == (3...12).map { "line \($0)" })
        let lateLines = try await lateRest
        #expect(!lateLines.isEmpty && lateLines == (9...12).suffix(lateLines.count).map { "line \($0)" })
        #expect(log.openFollows <= 1)
    }

    @Test("A reader goes on where its bot has moved to; one that stays on the node, and one of a bot that is gone, end")
    func botMoved() async throws {
        let log = LogOnNode()
        log.write("old")
        let place = Mutex<NodeID?>(node)
        let fanOut = fanOut(log) { place.withLock { $0 } }
        let reader = try await fanOut.follow(request(.fromOffset(0)), on: node)
        let copy = try await fanOut.follow(request(.fromOffset(0)), on: node, staysOnNode: true)
        #expect(try await read(reader, until: "old") == ["old"])
        #expect(try await read(copy, until: "old") == ["old"])
        async let moved = read(reader, until: "new")
        async let left = copy.next()
        while fanOut.counts.readers < 2 {
            try Task.checkCancellation()
            await Task.yield()
        }
        // The old node still has its part and is connected: only the word that the bot may be elsewhere tells.
        place.withLock { $0 = NodeID(rawValue: "elsewhere") }
        fanOut.lookAgain("b")
        #expect(try await left == nil)
        while !log.nodes.contains("elsewhere") {
            try Task.checkCancellation()
            await Task.yield()
        }
        log.write("new")
        #expect(try await moved == ["new"])
        place.withLock { $0 = nil }
        fanOut.lookAgain("b")
        #expect(try await reader.next() == nil)
    }
}
