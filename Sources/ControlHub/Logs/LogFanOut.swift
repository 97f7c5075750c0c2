import Foundation
import Synchronization
import WireFormat

/// Lets any number of readers follow a bot's log over one stream from its node.
///
/// ```
/// reader:  page (what is there) ──end──► feed at this offset ──fallen behind──► page from here ──► …
/// ```
/// A reader first reads what is there, by itself. Then it joins the bot's feed, which holds the last chunks of one
/// following stream. Whoever needs more than the feed has asks the stream, so nothing is read ahead of the fastest
/// reader and no task runs while all wait. A reader that falls behind the feed reads pages again until it has caught up:
/// a slow one holds up nobody and misses nothing.
final class LogFanOut: Sendable {
    private let channel: any AgentChannel
    private let feeds = Mutex<[Key: Entry]>([:])

    fileprivate struct Key: Hashable {
        let bot: String
        let node: NodeID
    }

    private struct Entry {
        let feed: LogFeed
        var readers: Int
    }

    init(channel: any AgentChannel) {
        self.channel = channel
    }

    /// Follows a log from where the request says. Throws where the node is not connected.
    func follow(_ request: WireLogRequest, on node: NodeID) async throws -> LogSubscription {
        var first = request
        first.follow = false
        let reader = LogFollower(self, request, node, page: try await channel.logs(first, on: node))
        return LogSubscription(next: { try await reader.next() }, cancel: { reader.cancel() })
    }

    fileprivate func page(_ request: WireLogRequest, on node: NodeID, from offset: UInt64) async throws
        -> LogSubscription
    {
        var page = request
        page.follow = false
        page.start = .fromOffset(offset)
        return try await channel.logs(page, on: node)
    }

    /// The bot's feed, begun at `offset` where there is none. Each call is to be followed by one of `leave`.
    fileprivate func join(_ request: WireLogRequest, on node: NodeID, at offset: UInt64) async throws -> LogFeed {
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

    private func present(_ key: Key) -> LogFeed? {
        feeds.withLock { feeds in
            guard let entry = feeds[key], !entry.feed.hasEnded else { return nil }
            feeds[key]?.readers += 1
            return entry.feed
        }
    }

    fileprivate func leave(_ feed: LogFeed, bot: String, node: NodeID) {
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
private final class LogFeed: Sendable {
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

/// One reader. Asked for one chunk after the other, never twice at once.
private final class LogFollower: Sendable {
    private enum Source {
        case page(LogSubscription)
        case feed(LogFeed)
        case cancelled
    }

    private struct State {
        var source: Source
        var cursor: UInt64
    }

    private let fanOut: LogFanOut
    private let request: WireLogRequest
    private let node: NodeID
    private let state: Mutex<State>

    init(_ fanOut: LogFanOut, _ request: WireLogRequest, _ node: NodeID, page: LogSubscription) {
        self.fanOut = fanOut
        self.request = request
        self.node = node
        let start: UInt64 = if case .fromOffset(let offset) = request.start { offset } else { 0 }
        state = Mutex(State(source: .page(page), cursor: start))
    }

    deinit { cancel() }

    func next() async throws -> WireLogChunk? {
        while true {
            let (source, cursor) = state.withLock { ($0.source, $0.cursor) }
            switch source {
            case .cancelled: return nil
            case .page(let page):
                if let chunk = try await page.next() {
                    advance(to: chunk.nextOffset)
                    if !chunk.lines.isEmpty { return chunk }
                } else {
                    page.cancel()
                    enter(.feed(try await fanOut.join(request, on: node, at: cursor)))
                }
            case .feed(let feed):
                switch try await feed.next(after: cursor) {
                case .chunk(let chunk):
                    advance(to: chunk.nextOffset)
                    if !chunk.lines.isEmpty { return chunk }
                case .behind:
                    let page = try await fanOut.page(request, on: node, from: cursor)
                    if enter(.page(page)) { fanOut.leave(feed, bot: request.botID, node: node) }
                case .ended: return nil
                }
            }
        }
    }

    func cancel() {
        let source = state.withLock { state in
            defer { state.source = .cancelled }
            return state.source
        }
        release(source)
    }

    private func advance(to offset: UInt64) { state.withLock { $0.cursor = max($0.cursor, offset) } }

    /// Goes on with another source, unless the reader has gone meanwhile.
    ///
    /// - Returns: whether it does; then the source before is the caller's to let go.
    @discardableResult
    private func enter(_ source: Source) -> Bool {
        let isOver = state.withLock { state in
            if case .cancelled = state.source { return true }
            state.source = source
            return false
        }
        if isOver { release(source) }
        return !isOver
    }

    private func release(_ source: Source) {
        switch source {
        case .page(let page): page.cancel()
        case .feed(let feed): fanOut.leave(feed, bot: request.botID, node: node)
        case .cancelled: break
        }
    }
}
