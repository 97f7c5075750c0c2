import Foundation
import Logging
import Synchronization
import WireFormat

/// Keeps what grows within its limits, carries deletions through, and gives the space back: all in short turns, between which
/// everybody else writes.
struct RetentionOperations: Sendable {
    /// The writer is held for about so long at a time, and then for a moment longer by the commit.
    static let turn = Duration.milliseconds(20)
    /// Between two turns. Longer than one, so that whoever waits gets in.
    static let pause = Duration.milliseconds(25)
    /// Free pages that are left for what comes next: this part of the file, and no fewer than these.
    private static let sparePart: Int64 = 50
    private static let sparePages: Int64 = 256
    /// Pages that are cut off in one turn.
    private static let pagesEach: Int64 = 500
    /// Deletions that are looked after at a time.
    private static let deletionsEach = 100

    let database: HubDatabase
    let settings: RetentionSettings
    let snapshots: SnapshotOperations
    /// Copies of bots' logs; nil where the hub keeps none.
    let archive: LogArchive?
    let events: EventFeed
    let clock: HubClock
    let logger: Logger
    private let state = RetentionState()

    init(
        database: HubDatabase,
        settings: RetentionSettings,
        snapshots: SnapshotOperations,
        archive: LogArchive?,
        events: EventFeed,
        clock: HubClock,
        logger: Logger
    ) {
        self.database = database
        self.settings = settings
        self.snapshots = snapshots
        self.archive = archive
        self.events = events
        self.clock = clock
        self.logger = logger
    }

    var store: RetentionStore { RetentionStore(database: database) }
    var purges: PurgeStore { PurgeStore(database: database) }
    var removals: RemovalStore { RemovalStore(database: database) }

    /// The longest turn of this run, commit included.
    var longestTurn: Duration { state.longest }

    // MARK: What is kept

    /// Brings everything within its limits.
    func round() async throws {
        let (date, horizon) = (clock.date(), clock.horizon())
        for kind in RetentionKind.allCases {
            let limits = settings[kind]
            if let age = limits.age {
                let cutoff = horizon.unixMilliseconds.clampedSubtracting(age.milliseconds)
                try await carryOut(kind, try await store.aged(kind, cutoff: cutoff), horizon, at: date)
            }
            try await carryOut(kind, RetentionPlan.trims(try await store.usages(kind), limits), horizon, at: date)
        }
        try await RetentionSweepStore(database: database).run(horizon)
        try await expireSnapshots(horizon, at: date)
        await archive?.keep(
            totalBytes: settings.logBytes,
            since: settings.logAge > .zero ? horizon.addingTimeInterval(-settings.logAge.seconds) : nil
        )
        try await shrink()
        state.note(roundEndedAt: clock.date())
    }

    private func carryOut(
        _ kind: RetentionKind,
        _ trims: [RetentionTrim],
        _ horizon: Date,
        at date: Date
    ) async throws {
        guard !trims.isEmpty else { return }
        var progress = RetentionStore.Progress(kind, trims)
        while !progress.isDone {
            let before = progress
            progress = try await store.step(before, horizon, at: date, for: Self.turn)
            state.note(turnSince: progress.began)
            try await rest()
        }
        guard progress.removed.rows > 0 else { return }
        logger.debug(
            "records beyond what is kept were removed",
            metadata: [
                "kind": "\(kind.rawValue)", "rows": "\(progress.removed.rows)", "bytes": "\(progress.removed.bytes)",
            ]
        )
    }

    private func expireSnapshots(_ horizon: Date, at date: Date) async throws {
        guard settings.snapshotAge > .zero else { return }
        let gone = try await snapshots.expire(before: horizon.addingTimeInterval(-settings.snapshotAge.seconds))
        guard gone.count > 0 else { return }
        try await database.write { db in
            try RemovalStore.add(
                db,
                Removal(
                    day: Removal.day(of: date),
                    kind: "snapshots",
                    owner: "",
                    reason: RetentionReason.age.rawValue,
                    rows: gone.count,
                    bytes: gone.bytes,
                    firstAt: date,
                    lastAt: date
                )
            )
        }
    }

    // MARK: Deletions

    /// Carries on with what is being deleted, and gives the space back when something was.
    func deletions() async throws {
        guard Defence.purging.isUp else { return }
        let pending = try await purges.pending(limit: Self.deletionsEach)
        var isAnythingDone = false
        for deletion in pending {
            if case .bot(let bot) = deletion.subject {
                for snapshot in try await purges.snapshots(of: bot) { snapshots.discardFile(snapshot) }
                await archive?.forget(bot)
            }
            var isDone = false
            while !isDone {
                let step = try await purges.step(deletion.subject, at: clock.date(), for: Self.turn)
                state.note(turnSince: step.began)
                isDone = step.isDone
                if !isDone { try await rest() }
            }
            isAnythingDone = true
            announce(deletion.subject)
        }
        if isAnythingDone { state.needsErasing(true) }
        guard state.isErasing else { return }
        try await shrink()
        // What was written over in the file may still be read in the log.
        if try await database.checkpoint(isEmptying: true) { state.needsErasing(false) }
    }

    private func announce(_ subject: PurgeStore.Subject) {
        let date = clock.date()
        switch subject {
        case .bot(let bot):
            events.publish(
                "bot.updated",
                at: date,
                .object(["change": .string("purged"), "bot_id": .string(bot.rawValue)])
            )
        case .node(let node):
            events.publish(
                "node.updated",
                at: date,
                .object(["change": .string("purged"), "node_id": .string(node.rawValue)])
            )
        }
    }

    // MARK: Space

    /// Cuts off the file what is free beyond a spare, and moves the write-ahead log into it.
    func shrink() async throws {
        try await database.checkpoint()
        guard Defence.shrinking.isUp else { return }
        var space = try await database.space()
        guard space.isShrinking else { return }
        let spare = max(Self.sparePages, space.pages / Self.sparePart)
        // Not for a little: what is cut off must be added again.
        guard space.freePages > spare.clampedMultiplied(by: 2) else { return }
        while space.freePages > spare {
            let pages = min(Self.pagesEach, space.freePages - spare)
            state.note(turnSince: try await database.giveBack(pages: pages))
            try await rest()
            let now = try await database.space()
            guard now.pages < space.pages else { break }
            space = now
        }
        try await database.checkpoint()
    }

    /// How far the hub has come, for who asks.
    func status() async throws -> RetentionStatus {
        RetentionStatus(
            space: try await database.space(),
            usages: try await kindTotals(),
            deletions: try await purges.pending(limit: Self.deletionsEach),
            lastRoundAt: state.lastRound,
            longestTurn: longestTurn
        )
    }

    private func kindTotals() async throws -> [(kind: RetentionKind, rows: Int64, bytes: Int64)] {
        var totals: [(kind: RetentionKind, rows: Int64, bytes: Int64)] = []
        for kind in RetentionKind.allCases {
            let usages = try await store.usages(kind)
            totals.append(
                (
                    kind, usages.reduce(0) { $0.clampedAdding($1.rows) },
                    usages.reduce(0) { $0.clampedAdding($1.bytes) }
                )
            )
        }
        return totals
    }

    // MARK: Turns

    private func rest() async throws {
        try Task.checkCancellation()
        try await clock.sleep(clock.now() + Self.pause)
    }
}

/// What is told of retention.
struct RetentionStatus: Sendable {
    let space: DatabaseSpace
    let usages: [(kind: RetentionKind, rows: Int64, bytes: Int64)]
    let deletions: [PurgeStore.Pending]
    let lastRoundAt: Date?
    let longestTurn: Duration
}

/// What one run of the hub remembers of its own retention.
private final class RetentionState: Sendable {
    private struct Content {
        var longest = Duration.zero
        var lastRound: Date?
        var isErasing = false
    }

    private let content = Mutex(Content())

    var longest: Duration { content.withLock { $0.longest } }
    var lastRound: Date? { content.withLock { $0.lastRound } }
    var isErasing: Bool { content.withLock { $0.isErasing } }

    func note(turnSince began: ContinuousClock.Instant) {
        let turn = ContinuousClock.now - began
        content.withLock { $0.longest = max($0.longest, turn) }
    }
    func note(roundEndedAt date: Date) { content.withLock { $0.lastRound = date } }
    func needsErasing(_ needed: Bool) { content.withLock { $0.isErasing = needed } }
}
