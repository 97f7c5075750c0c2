import Synchronization
import WireFormat

/// One reader of a log that goes on. Asked for one chunk after the other, never twice at once.
final class LogFollower: Sendable {
    private enum Source {
        /// What is there, read by itself.
        case page(LogSubscription)
        /// What comes, shared with the others.
        case feed(LogFeed, NodeID)
        /// The stream ended under the reader, so many times since it had the last lines.
        case interrupted(times: Int)
        case cancelled
    }

    private struct State {
        var source = Source.interrupted(times: 0)
        /// Where the log lies, as far as the reader knows.
        var node: NodeID
        /// Where to read on; nil until the node has told where a tail begins.
        var cursor: UInt64?
        var interruptions = 0
        /// The bot has come to this node since the reader had lines, and may have been started there or not.
        var isNew = false
    }

    /// Between two tries to read on, doubled from the first to the last.
    private static let pauses: ClosedRange<Duration> = .milliseconds(250)...(.seconds(8))

    private let fanOut: LogFanOut
    private let request: WireLogRequest
    private let staysOnNode: Bool
    private let state: Mutex<State>

    private var node: NodeID { state.withLock { $0.node } }

    /// A reader that has not begun: it does with the first `next()`.
    init(_ fanOut: LogFanOut, _ request: WireLogRequest, _ node: NodeID, staysOnNode: Bool) {
        self.fanOut = fanOut
        self.request = request
        self.staysOnNode = staysOnNode
        state = Mutex(State(node: node))
        if case .fromOffset(let offset) = request.start { state.withLock { $0.cursor = offset } }
    }

    deinit { cancel() }

    /// Opens the first page. Throws where that is not possible now.
    func begin() async throws {
        enter(.page(try await fanOut.page(request, on: node, from: nil)))
    }

    /// The next lines; nil once the reader is cancelled, or the bot is gone, or from its node where the reader stays there.
    func next() async throws -> WireLogChunk? {
        while true {
            let (source, cursor) = state.withLock { ($0.source, $0.cursor) }
            do {
                switch source {
                case .cancelled: return nil
                case .page(let page):
                    if let chunk = try await read(page, at: cursor) { return chunk }
                case .feed(let feed, let node):
                    if let chunk = try await read(feed, on: node, at: cursor ?? 0) { return chunk }
                case .interrupted(let times):
                    guard try await readOn(from: cursor, after: times) else { return nil }
                }
            } catch  where Self.isPassing(error) || isNotStartedYet(error) {
                interrupt(source)
            }
        }
    }

    /// A node knows nothing of a bot that was placed there and was not started yet.
    private func isNotStartedYet(_ error: any Error) -> Bool {
        (error as? HubError)?.code == .agentRefused && state.withLock { $0.isNew }
    }

    func cancel() {
        let source = state.withLock { state in
            defer { state.source = .cancelled }
            return state.source
        }
        release(source)
    }

    /// Whether what ended a stream says nothing about the log: the link was cut, or the agent or the node went away.
    static func isPassing(_ error: any Error) -> Bool {
        switch error {
        case let error as HubError: error.code == .nodeOffline || error.code == .hubBusy
        case let error as WireFormatError:
            switch error.code {
            case .sessionClosed, .notEstablished, .goingAway, .tooManyStreams: true
            case .streamReset: error.resetCode == .cancelled || error.resetCode == .refused
            default: false
            }
        default: false
        }
    }

    // MARK: Sources

    /// - Returns: nil where there is to be another look at the state.
    private func read(_ page: LogSubscription, at cursor: UInt64?) async throws -> WireLogChunk? {
        if let chunk = try await page.next() { return took(chunk) }
        page.cancel()
        let node = node
        let feed = try await fanOut.join(request, on: node, at: cursor ?? 0)
        enter(.feed(feed, node))
        // It may have moved before there was a feed that could be told.
        if try await fanOut.isElsewhere(request.botID, than: node) { interrupt(.feed(feed, node)) }
        return nil
    }

    private func read(_ feed: LogFeed, on node: NodeID, at cursor: UInt64) async throws -> WireLogChunk? {
        switch try await feed.next(after: cursor) {
        case .chunk(let chunk): return took(chunk)
        case .behind:
            let page = try await fanOut.page(request, on: node, from: cursor)
            if enter(.page(page)) { fanOut.leave(feed, bot: request.botID, node: node) }
        case .ended:
            // The agent stops, the bot's directory is gone, or somebody has said that the bot may be elsewhere.
            interrupt(.feed(feed, node))
        }
        return nil
    }

    private func took(_ chunk: WireLogChunk) -> WireLogChunk? {
        state.withLock { state in
            state.cursor = max(state.cursor ?? 0, chunk.nextOffset)
            if !chunk.lines.isEmpty { (state.interruptions, state.isNew) = (0, false) }
        }
        return chunk.lines.isEmpty ? nil : chunk
    }

    /// Waits for the node, and begins a page where the reader was.
    ///
    /// - Returns: false where the bot is gone.
    private func readOn(from cursor: UInt64?, after interruptions: Int) async throws -> Bool {
        if interruptions > 0 {
            let pause = min(Self.pauses.lowerBound * (1 << min(interruptions - 1, 10)), Self.pauses.upperBound)
            try await fanOut.clock.sleep(fanOut.clock.now() + pause)
        }
        guard let node = try await fanOut.waitForNode(of: request.botID) else { return false }
        let isElsewhere = state.withLock { state in
            guard state.node != node else { return false }
            if !staysOnNode { (state.node, state.isNew) = (node, true) }
            return true
        }
        guard !isElsewhere || !staysOnNode else { return false }
        enter(.page(try await fanOut.page(request, on: node, from: cursor)))
        return true
    }

    private func interrupt(_ source: Source) {
        let isOver = state.withLock { state in
            if case .cancelled = state.source { return true }
            state.interruptions += 1
            state.source = .interrupted(times: state.interruptions)
            return false
        }
        // Whoever cancelled has let it go.
        if !isOver { release(source) }
    }

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
        case .feed(let feed, let node): fanOut.leave(feed, bot: request.botID, node: node)
        case .interrupted, .cancelled: break
        }
    }
}
