import Dispatch
import Glibc
import Synchronization
import WireFormat

/// The agent's memory on disk: packets not yet acknowledged, how far the logs were read, receipts of commands and
/// deliveries, and the bots. One SQLite file, one connection, one thread of its own.
///
/// `synchronous=FULL` in write-ahead mode: a transaction that has returned survives the loss of power. That costs one
/// fsync a batch of packets, not one a packet, and is what "written before acting" means.
///
/// A file that is damaged, at the start or later, is put aside and what can be read of it goes into a new one; what is
/// missing then is told by gaps. See `JournalSalvage`.
actor Journal {
    /// How many receipts and deliveries are kept.
    struct Retention: Sendable {
        /// A receipt whose result the hub has is forgotten after this time.
        var milliseconds: UInt64 = 7 * 24 * 3_600_000
        /// Beyond this number the oldest go, those the hub has first.
        var count = 10_000
    }

    /// How many packets are kept while the hub does not take them.
    struct PacketBudget: Sendable, Equatable {
        /// Beyond it the oldest packets of the bot with most of them give way to one gap.
        var bytes = 256 << 20
        /// Packets that are older give way, too.
        var milliseconds: UInt64 = 14 * 24 * 3_600_000
    }

    /// Whether a command has been seen before.
    enum CommandStart: Sendable, Equatable {
        /// Never seen: it is now noted as begun.
        case run
        /// Carried out before; this is what came of it.
        case finished(WireCommandResult)
        /// Begun before and not finished: the agent died meanwhile.
        case interrupted
    }

    /// What is known about handing a message to a bot.
    struct Delivery: Sendable, Equatable {
        var launchID: String
        /// End of the bot's log when the delivery was begun; traces of the message can only follow.
        var logOffset: UInt64
        var isAccepted: Bool
    }

    /// What is kept of one bot's packets.
    struct Backlog: Sendable, Equatable {
        var count = 0
        var bytes = 0
    }

    /// Names this journal. Packet numbers mean something under it alone.
    nonisolated var journalID: String { name.withLock { $0 } }
    nonisolated let name: Mutex<String>
    /// What became of a damaged file at the start; nil where all was well.
    nonisolated let salvage: JournalSalvage.Report?

    private let executor: QueueExecutor
    private let path: String
    private(set) var database: SQLiteDatabase
    let retention: Retention
    let budget: PacketBudget
    private let clock: JournalClock
    private let fixedNow: (@Sendable () -> UInt64)?
    private let onSalvage: @Sendable (JournalSalvage.Report) -> Void
    /// What the packets' table holds, by bot; kept in step with it.
    var backlogs: [String: Backlog]
    var receiptsSincePruning = 0

    /// Woken after new packets were stored.
    nonisolated let newPackets = Signal()

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// Opens the journal, making it where it is missing and saving what can be saved where it is damaged. Blocks;
    /// called once at start-up.
    ///
    /// - Parameters:
    ///   - path: the file, or `:memory:`.
    ///   - clock: what ages are counted with.
    ///   - now: the age itself in milliseconds, for tests; nil takes the clock.
    ///   - onSalvage: told when a damaged file was replaced, at the start or later.
    init(
        path: String,
        retention: Retention = Retention(),
        budget: PacketBudget = PacketBudget(),
        clock: JournalClock.Source = .system,
        now: (@Sendable () -> UInt64)? = nil,
        onSalvage: @escaping @Sendable (JournalSalvage.Report) -> Void = { _ in }
    ) throws(SQLiteError) {
        let opened = try Self.open(path, knownID: nil)
        database = opened.database
        name = Mutex(opened.id)
        salvage = opened.report
        backlogs = opened.backlogs
        self.clock = JournalClock(clock, after: opened.mark, beginning: Self.wallClock())
        self.path = path
        self.retention = retention
        self.budget = budget
        self.onSalvage = onSalvage
        fixedNow = now
        executor = QueueExecutor(label: "edge-agent.journal")
        if let report = salvage { onSalvage(report) }
    }

    /// The journal's age in milliseconds; see `JournalClock`.
    var now: UInt64 { fixedNow?() ?? clock.now }

    /// Bytes that all packets take, roughly.
    var storedBytes: Int { backlogs.values.reduce(0) { $0 + $1.bytes } }

    /// What waits for the hub, by bot.
    func backlog() -> [String: Backlog] { backlogs }

    /// Writes down how far the clock has come; called now and then.
    func saveClock() throws {
        let mark = clock.mark.text
        try guarded {
            _ = try database.run("INSERT OR REPLACE INTO meta(key, value) VALUES('clock', ?)", [.text(mark)])
        }
    }

    /// Runs one operation. Where the file turns out to be damaged it is replaced by what can be saved, and the
    /// operation runs once more.
    func guarded<Value>(_ body: () throws -> Value) throws -> Value {
        do {
            return try body()
        } catch let error as SQLiteError where error.isDamage && path != ":memory:" {
            let opened = try Self.open(path, knownID: journalID)
            database = opened.database
            backlogs = opened.backlogs
            if let report = opened.report { onSalvage(report) }
            return try body()
        }
    }

    /// The wall clock in milliseconds since 1970. Nothing is decided by it.
    static let wallClock: @Sendable () -> UInt64 = {
        let time = LogTimestamp.now()
        return UInt64(clamping: time.tv_sec) * 1_000 + UInt64(clamping: time.tv_nsec) / 1_000_000
    }
}

// MARK: - Opening

extension Journal {
    /// What `open` has found.
    private struct Opened {
        var database: SQLiteDatabase
        var id: String
        var mark: JournalClock.Mark?
        var backlogs: [String: Backlog]
        var report: JournalSalvage.Report?
    }

    /// - Parameter knownID: the journal's name where it was open before; then the file is known to be damaged.
    private static func open(_ path: String, knownID: String?) throws(SQLiteError) -> Opened {
        do {
            if knownID == nil {
                do {
                    let database = try prepared(path)
                    try JournalSalvage.check(database, path: path)
                    try noteStart(database)
                    return try describe(database, id: nil, report: nil)
                } catch let error as SQLiteError where error.isDamage && path != ":memory:" {
                    // Goes on below.
                }
            }
            let aside = try JournalSalvage.putAside(path)
            let database = try prepared(path)
            let report = try JournalSalvage.run(from: aside, into: database, knownID: knownID)
            if knownID == nil { try noteStart(database) }
            return try describe(database, id: knownID, report: report)
        } catch let error as SQLiteError {
            throw error
        } catch {
            throw SQLiteError(code: 1, path: path, detail: "\(error)")
        }
    }

    /// A database with the present schema.
    private static func prepared(_ path: String) throws -> SQLiteDatabase {
        let database = try SQLiteDatabase(path: path)
        let level = Defence.flushing.isUp ? "FULL" : "NORMAL"
        try database.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=\(level); PRAGMA journal_size_limit=8388608")
        var version = 0
        try database.query("PRAGMA user_version") { row in
            version = Int(clamping: row.integer(0))
            return false
        }
        for (index, migration) in JournalSchema.migrations.enumerated().dropFirst(version) {
            try database.transaction {
                try database.execute(migration)
                try database.execute("PRAGMA user_version=\(index + 1)")
            }
        }
        if path != ":memory:" { chmod(path, 0o600) }
        return database
    }

    private static func describe(
        _ database: SQLiteDatabase,
        id: String?,
        report: JournalSalvage.Report?
    ) throws -> Opened {
        var backlogs: [String: Backlog] = [:]
        try database.query("SELECT bot_id, count(*), sum(\(Self.sizeSQL)) FROM packets GROUP BY bot_id") { row in
            backlogs[row.text(0)] = Backlog(count: Int(clamping: row.integer(1)), bytes: Int(clamping: row.integer(2)))
            return true
        }
        let mark = try meta(database, "clock").flatMap(JournalClock.Mark.init)
        var known = try id ?? meta(database, "journal_id")
        if known == nil {
            known = RandomText.hex(bytes: 16)
            try database.transaction {
                try database.run("INSERT INTO meta(key, value) VALUES('journal_id', ?)", [.text(known ?? "")])
                try noteBeginnings(database)
            }
        }
        return Opened(database: database, id: known ?? "", mark: mark, backlogs: backlogs, report: report)
    }

    static func meta(_ database: SQLiteDatabase, _ key: String) throws -> String? {
        var value: String?
        try database.query("SELECT value FROM meta WHERE key=?", [.text(key)]) { row in
            value = row.text(0)
            return false
        }
        return value
    }
}
