import Foundation
import Synchronization
import WireFormat

/// Reads bots' logs, which lie on their nodes.
struct LogOperations: Sendable {
    let bots: BotOperations
    let channel: any AgentChannel
    let clock: HubClock
    /// What the hub keeps itself, where it is set to.
    let archive: LogArchive?
    private let patience: NodePatience
    private let fanOut: LogFanOut

    init(
        bots: BotOperations,
        channel: any AgentChannel,
        clock: HubClock,
        archive: LogArchive? = nil,
        patience: NodePatience = NodePatience()
    ) {
        self.patience = patience
        self.bots = bots
        self.channel = channel
        self.clock = clock
        self.archive = archive
        fanOut = LogFanOut(channel: channel, clock: clock) { bot in
            do {
                return try await bots.store.bot(BotID(rawValue: bot)).nodeID
            } catch let error as HubError where error.code == .notFound {
                return nil
            }
        }
        bots.moves.listen { [fanOut] bot in fanOut.lookAgain(bot.rawValue) }
    }

    /// What a reader wants of a log.
    struct Query: Sendable {
        enum Start: Sendable {
            case tail(lines: UInt32)
            case offset(UInt64)
        }

        var start: Start
        var since: Date?
        /// Only lines that hold this, whatever the case; nil for all.
        var text: String?
        /// Only lines of this source; nil for all.
        var source: WireLogSource?

        /// Whether it leaves lines out that were read.
        var isSearch: Bool { text != nil || source != nil }

        func isWanted(_ line: WireLogLine) -> Bool {
            if let source, line.source != source { return false }
            guard let text else { return true }
            return String(decoding: line.text, as: UTF8.self).range(of: text, options: .caseInsensitive) != nil
        }
    }

    /// One answer that is not a stream.
    struct Lines: Sendable {
        var lines: [WireLogLine]
        var nextOffset: UInt64
    }

    /// A page holds at most this; the next one starts at `next_offset`.
    static let maximumPageBytes = 2 << 20
    static let maximumPageLines = 5000
    /// A search looks through at most this before it answers with what it has found.
    static let maximumSearchBytes = 64 << 20
    /// How long an agent may take for a page; an interactive reader does not wait longer.
    static let pageTimeout = Duration.seconds(15)

    /// Opens a log that goes on, also when its node was away for a while, and on another node when the bot has moved; its readers
    /// share one stream. Throws `notFound`, and `nodeOffline` unless the reader is resuming.
    ///
    /// - Parameter host: only while the bot is placed there; `notFound` otherwise, and the log ends when the bot leaves.
    func follow(
        _ id: BotID,
        _ query: Query,
        isResuming: Bool = false,
        stayingOn host: NodeID? = nil
    ) async throws -> LogSubscription {
        let bot = try await bots.store.bot(id)
        guard host == nil || host == bot.nodeID else {
            throw HubError(.notFound, "Bot \(id) is placed elsewhere meanwhile.")
        }
        return try await fanOut.follow(
            request(bot, query, follow: true),
            on: bot.nodeID,
            isResuming: isResuming,
            staysOnNode: host != nil
        )
    }

    /// How far the part of a bot's log goes that a node has which the bot was on before; 0 where it has none.
    func reach(of bot: BotID, on node: NodeID) async throws -> UInt64 {
        let places = try await LogPlaceStore(database: bots.database).list(bot)
        return places.last { $0.node == node }.map { $0.end ?? .max } ?? 0
    }

    /// Reads all that is there now, chunk by chunk, as fast as it is taken. Throws `notFound`, `nodeOffline`, and where nothing more
    /// comes `agentTimeout`.
    func whole(_ id: BotID, _ query: Query) async throws -> LogSubscription {
        let bot = try await bots.store.bot(id)
        let log = try await open(request(bot, query, follow: false), on: bot.nodeID)
        return patience.limited(log, to: patience.file)
    }

    /// Reads what is there now. Throws `notFound`, `nodeOffline`, `agentTimeout`.
    func page(_ id: BotID, _ query: Query) async throws -> Lines {
        let bot = try await bots.store.bot(id)
        let subscription = try await open(request(bot, query, follow: false), on: bot.nodeID)
        defer { subscription.cancel() }
        let start: UInt64 = if case .offset(let offset) = query.start { offset } else { 0 }
        return try await withThrowingTaskGroup(of: Lines?.self) { group in
            group.addTask {
                do {
                    return try await Self.collect(subscription, query, from: start)
                } catch let error as HubError where error.code == .agentRefused && bot.status == nil {
                    // Its node has never heard of it.
                    throw HubError(
                        .notFound,
                        "Bot \(bot.name) has not been started yet, so it has written nothing. Start it with "
                            + "POST /api/bots/\(bot.id)/start.",
                        cause: error
                    )
                }
            }
            group.addTask {
                try await clock.sleep(clock.now() + Self.pageTimeout)
                return nil
            }
            defer { group.cancelAll() }
            guard let first = try await group.next(), let lines = first else {
                throw HubError(
                    .agentTimeout,
                    "The node did not send the log within \(Int(saturating: Self.pageTimeout.seconds)) s. Try again.",
                    retryAfter: .seconds(5)
                )
            }
            return lines
        }
    }

    /// From the node, or while it is away what is kept here.
    private func open(_ request: WireLogRequest, on node: NodeID) async throws -> LogSubscription {
        do {
            return try await channel.logs(request, on: node)
        } catch let error as HubError where error.code == .nodeOffline {
            guard let kept = await archive?.subscription(request, on: node) else { throw error }
            return kept
        }
    }

    private static func collect(
        _ subscription: LogSubscription,
        _ query: Query,
        from start: UInt64
    ) async throws -> Lines {
        var page = Lines(lines: [], nextOffset: start)
        var bytes = 0
        var looked = 0
        for try await chunk in subscription {
            for (index, line) in chunk.lines.enumerated() {
                guard page.lines.count < maximumPageLines, bytes < maximumPageBytes, looked < maximumSearchBytes else {
                    // The rest of this chunk is asked for again.
                    page.nextOffset = chunk.lines[index].offset
                    return page
                }
                looked += line.text.count
                guard query.isWanted(line) else { continue }
                bytes += line.text.count
                page.lines.append(line)
            }
            page.nextOffset = max(page.nextOffset, chunk.nextOffset)
        }
        return page
    }

    private func request(_ bot: Bot, _ query: Query, follow: Bool) -> WireLogRequest {
        var request = WireLogRequest()
        request.botID = bot.id.rawValue
        request.follow = follow
        switch query.start {
        case .tail(let lines): request.start = .tailLines(lines)
        case .offset(let offset): request.start = .fromOffset(offset)
        }
        if let since = query.since { request.sinceUnixMs = UInt64(clamping: max(0, since.unixMilliseconds)) }
        return request
    }
}
