import Foundation

/// Follows a stream of server-sent events through whatever happens to the connection: it goes on after the last event
/// that was taken.
struct EventFollower {
    /// What a follower tells.
    enum News {
        /// The stream is open, for the first time or again: what is shown should be read once.
        case opened(isFirst: Bool)
        case event(ReceivedEvent)
    }

    /// Without a connection for so long, nobody waits any more.
    static let patience = Duration.seconds(600)
    private static let waits: [Duration] = [
        .milliseconds(250), .milliseconds(500), .seconds(1), .seconds(2), .seconds(5),
    ]

    let client: HubClient
    let path: String
    /// Where to begin; nil: with what is new.
    var lastEventID: String?
    /// When it ends by itself; nil: never.
    var deadline: ContinuousClock.Instant?

    /// Hands over what happens until `take` says true, or the deadline passes.
    ///
    /// What keeps the first stream from being opened is thrown. Later the connection is made anew for 10 minutes, which
    /// is said on standard error. Throws at once where that cannot help, such as when the token was revoked.
    ///
    /// - Returns: whether `take` said true.
    @discardableResult
    func run(_ take: (News) async throws -> Bool) async throws -> Bool {
        var cursor = lastEventID
        var openings = 0
        // Since the last event: a stream that ends at once, again and again, is told once and asked for ever slower.
        var tries = 0
        var lostAt: ContinuousClock.Instant?
        var isTold = false
        while true {
            if let deadline, ContinuousClock.now >= deadline { return false }
            var why = "the hub has ended the stream."
            var isOpening = true
            do {
                let isEnough = try await client.events(
                    path,
                    lastEventID: cursor,
                    deadline: deadline,
                    opened: {
                        isOpening = false
                        openings += 1
                        if isTold { Output.note("connected again.") }
                        (lostAt, isTold) = (nil, false)
                        return try await take(.opened(isFirst: openings == 1))
                    }
                ) { event in
                    if try await take(.event(event)) { return true }
                    tries = 0
                    cursor = event.id ?? cursor
                    return false
                }
                if isEnough { return true }
            } catch let failure as StartFailure {
                // A node that is away comes back, too; what else was refused is so again.
                let isPassing = failure.code == .unavailable || isOpening && failure.code == .temporaryFailure
                guard openings > 0, isPassing else { throw failure }
                if let lostAt, ContinuousClock.now - lostAt > Self.patience { throw failure }
                why = failure.message
            }
            if let deadline, ContinuousClock.now >= deadline { return false }
            if lostAt == nil { lostAt = .now }
            if tries == 0 {
                Output.note("\(why) Trying again.")
                isTold = true
            }
            try await Task.sleep(for: Self.waits[min(tries, Self.waits.count - 1)] * Double.random(in: 0.75...1.25))
            tries += 1
        }
    }
}
