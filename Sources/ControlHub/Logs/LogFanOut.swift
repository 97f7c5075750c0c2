import Foundation
import Synchronization
import WireFormat

/// Lets any number of readers follow a bot's log over one stream from its node.
///
/// ```
/// reader:  page (what is there) ──end──► feed at this offset ──fallen behind──► page from here ──► …
///            └──── link cut, agent or node away, bot moved ────────┴──► there again: page from here ──► …
/// ```
/// A reader first reads what is there, by itself. Then it joins the bot's feed, which holds the last chunks of one
/// following stream. Whoever needs more than the feed has asks the stream, so nothing is read ahead of the fastest
/// reader and no task runs while all wait. A reader that falls behind the feed reads pages again until it has caught up:
/// a slow one holds up nobody and misses nothing. One whose node goes away waits for it and reads on where it was.
final class LogFanOut: Sendable {
    /// How long a reader waits for its node before it looks whether the bot is still there.
    private static let absenceStep = Duration.seconds(30)

    private let channel: any AgentChannel
    private let placement: @Sendable (String) async throws -> NodeID?
    let clock: HubClock
    private let feeds = Mutex<[Key: Entry]>([:])

    private struct Key: Hashable {
        let bot: String
        let node: NodeID
    }

    private struct Entry {
        let feed: LogFeed
        var readers: Int
    }

    /// - Parameter placement: the node that holds a bot now; nil for one that is gone.
    init(
        channel: any AgentChannel,
        clock: HubClock = .system,
        placement: @escaping @Sendable (String) async throws -> NodeID?
    ) {
        self.channel = channel
        self.clock = clock
        self.placement = placement
    }

    /// Follows a log from where the request says.
    ///
    /// - Parameters:
    ///   - isResuming: the reader has read before, and waits for its node where that is away; without it this throws
    ///     `nodeOffline`.
    ///   - staysOnNode: the log ends where the bot leaves the node.
    func follow(
        _ request: WireLogRequest,
        on node: NodeID,
        isResuming: Bool = false,
        staysOnNode: Bool = false
    ) async throws -> LogSubscription {
        let reader = LogFollower(self, request, node, staysOnNode: staysOnNode)
        do {
            try await reader.begin()
        } catch  where isResuming && LogFollower.isPassing(error) {
            // It waits when it is asked for the first chunk.
        }
        return LogSubscription(next: { try await reader.next() }, cancel: { reader.cancel() })
    }

    /// What is there now.
    ///
    /// - Parameter offset: where to begin; nil where the request says.
    func page(_ request: WireLogRequest, on node: NodeID, from offset: UInt64?) async throws -> LogSubscription {
        var page = request
        page.follow = false
        if let offset { page.start = .fromOffset(offset) }
        return try await channel.logs(page, on: node)
    }

    /// Waits until the node that holds a bot is connected.
    ///
    /// - Returns: the node; nil where the bot is gone.
    func waitForNode(of bot: String) async throws -> NodeID? {
        while true {
            guard let node = try await placement(bot) else { return nil }
            if await channel.isConnected(node) { return node }
            try await withThrowingTaskGroup { [channel, clock] group in
                group.addTask { try await channel.waitUntilConnected(node) }
                group.addTask { try await clock.sleep(clock.now() + Self.absenceStep) }
                defer { group.cancelAll() }
                try await group.next()
            }
        }
    }

    /// Whether a bot is held by another node now, or by none.
    func isElsewhere(_ bot: String, than node: NodeID) async throws -> Bool { try await placement(bot) != node }

    /// The bot's feed, begun at `offset` where there is none. Each call is to be followed by one of `leave`.
    func join(_ request: WireLogRequest, on node: NodeID, at offset: UInt64) async throws -> LogFeed {
        let key = Key(bot: request.botID, node: node)
        if let feed = present(key) { return feed }
        var upstream = request
        upstream.follow = true
        upstream.sinceUnixMs = 0
        upstream.start = .fromOffset(offset)
        let made = LogFeed(upstream: try await channel.logs(upstream, on: node), start: offset)
        // Another reader may have been quicker.
        let feed = feeds.withLock { feeds in
            if let entry = feeds[key], !entry.feed.hasEnded {
                feeds[key]?.readers += 1
                return entry.feed
            }
            feeds[key] = Entry(feed: made, readers: 1)
            return made
        }
        if feed !== made { made.cancel() }
        return feed
    }

    /// Has the readers of a bot's log look where it lies now.
    func lookAgain(_ bot: String) {
        for feed in feeds.withLock({ feeds in feeds.filter { $0.key.bot == bot }.map(\.value.feed) }) { feed.cancel() }
    }

    private func present(_ key: Key) -> LogFeed? {
        feeds.withLock { feeds in
            guard let entry = feeds[key], !entry.feed.hasEnded else { return nil }
            feeds[key]?.readers += 1
            return entry.feed
        }
    }

    func leave(_ feed: LogFeed, bot: String, node: NodeID) {
        let key = Key(bot: bot, node: node)
        let isLast = feeds.withLock { feeds in
            // A feed that ended may have been replaced by another one.
            guard let entry = feeds[key], entry.feed === feed else { return true }
            feeds[key]?.readers -= 1
            guard entry.readers <= 1 else { return false }
            feeds[key] = nil
            return true
        }
        if isLast { feed.cancel() }
    }

    /// Feeds that are open now, and their readers.
    var counts: (feeds: Int, readers: Int) {
        feeds.withLock { ($0.count, $0.values.reduce(0) { $0 + $1.readers }) }
    }
}

/// The last chunks of one log that is being followed.
final class LogFeed: Sendable {
    /// Enough for a browser that pauses for a moment; who is slower reads pages.
    private static let capacityBytes = 1 << 20

    enum Step: Sendable {
        case chunk(WireLogChunk)
        /// What comes after the reader's place has left the feed.
        case behind
        case ended
    }

    private struct State {
        var chunks: [WireLogChunk] = []
        var bytes = 0
        /// Where the oldest chunk begins, and the newest ends.
        var start: UInt64
        var end: UInt64
        var isAsking = false
        var hasEnded = false
        var failure: (any Error)?
    }

    private let upstream: LogSubscription
    private let state: Mutex<State>
    private let changed = Signal()

    init(upstream: LogSubscription, start: UInt64) {
        self.upstream = upstream
        state = Mutex(State(start: start, end: start))
    }

    var hasEnded: Bool { state.withLock { $0.hasEnded } }

    func cancel() {
        state.withLock { $0.hasEnded = true }
        upstream.cancel()
        changed.wake()
    }

    private enum Turn {
        case step(Step)
        case fail(any Error)
        case ask
        case wait
    }

    /// What follows `cursor`; waits where there is nothing yet.
    func next(after cursor: UInt64) async throws -> Step {
        while true {
            let ticket = changed.ticket
            switch turn(cursor) {
            case .step(let step): return step
            case .fail(let error): throw error
            case .wait: try await changed.wait(after: ticket)
            case .ask: try await ask()
            }
        }
    }

    private func turn(_ cursor: UInt64) -> Turn {
        state.withLock { state in
            if cursor < state.start { return .step(.behind) }
            if var chunk = state.chunks.first(where: { $0.nextOffset > cursor }) {
                chunk.lines.removeAll { $0.offset < cursor }
                return .step(.chunk(chunk))
            }
            if let failure = state.failure { return .fail(failure) }
            if state.hasEnded { return .step(.ended) }
            if state.isAsking { return .wait }
            state.isAsking = true
            return .ask
        }
    }

    /// Takes one more chunk for all. Where the reader that asks is cancelled, another one asks.
    private func ask() async throws {
        defer {
            state.withLock { $0.isAsking = false }
            changed.wake()
        }
        do {
            let chunk = try await upstream.next()
            state.withLock { state in
                guard let chunk else {
                    state.hasEnded = true
                    return
                }
                Self.add(chunk, to: &state)
            }
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            state.withLock { state in
                state.failure = error
                state.hasEnded = true
            }
        }
    }

    private static func add(_ chunk: WireLogChunk, to state: inout State) {
        state.chunks.append(chunk)
        state.bytes += size(chunk)
        state.end = max(state.end, chunk.nextOffset)
        while state.bytes > capacityBytes, state.chunks.count > 1 {
            let oldest = state.chunks.removeFirst()
            state.bytes -= size(oldest)
            state.start = max(state.start, oldest.nextOffset)
        }
    }

    private static func size(_ chunk: WireLogChunk) -> Int {
        chunk.lines.reduce(64) { $0 + $1.text.count + 64 }
    }
}
