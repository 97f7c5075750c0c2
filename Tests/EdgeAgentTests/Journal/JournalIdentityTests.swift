import FoundationEssentials
import TestSupport
import Testing
import WireFormat

@testable import EdgeAgent

@Suite("A journal that was copied") struct JournalIdentityTests {
    private static let node = "node-1"
    private let bench: BotWorkbench

    init() throws { bench = try BotWorkbench() }

    private func packets(_ count: Int, _ text: String) -> [Journal.NewPacket] {
        (0..<count).map { number in
            Journal.NewPacket(
                launchID: "l",
                botSequence: 0,
                type: text,
                conversationID: "",
                messageID: "",
                turnID: "",
                botTimeUnixMilliseconds: 1,
                receivedAtUnixMilliseconds: 2,
                json: Array("{}".utf8)
            )
        }
    }

    private func cursor(_ through: UInt64, of bot: String = "a") -> WirePacketCursor {
        filled(WirePacketCursor()) {
            $0.botID = bot
            $0.throughSequence = through
        }
    }

    private func journal(_ name: String = "journal.sqlite") throws -> Journal {
        try Journal(path: bench.path + "/" + name)
    }

    /// What a backup of the state directory takes.
    private func copy(_ from: String = "journal.sqlite", to name: String) throws {
        for suffix in ["", "-wal"] {
            guard let bytes = try Files.read(bench.path + "/" + from + suffix) else { continue }
            try Files.replace(bench.path + "/" + name + suffix, with: bytes, mode: 0o600)
        }
    }

    private func waiting(_ journal: Journal) async throws -> [String] {
        try await journal.unacknowledged(after: [:], maxBytes: 1 << 20).map(\.type)
    }

    /// A journal with five packets of a bot, three of which the hub has, and the name of a copy of it. Meanwhile the original has
    /// gone on to ten, and the hub has them all.
    private func copied() async throws -> (name: String, hub: [WirePacketCursor]) {
        let original = try journal()
        _ = try await original.meet(node: Self.node, [])
        try await original.append(packets(5, "old"), bot: "a", logOffset: 50)
        try await original.acknowledge([cursor(3)])
        try copy(to: "copy.sqlite")
        try await original.append(packets(5, "old"), bot: "a", logOffset: 100)
        return ("copy.sqlite", [cursor(10)])
    }

    @Test("Session after session, and start after start, the journal is the same")
    func same() async throws {
        let first = try journal()
        #expect(try await first.meet(node: Self.node, []).standing == .same)
        try await first.append(packets(5, "p"), bot: "a", logOffset: 50)
        #expect(try await first.meet(node: Self.node, [cursor(5)]).standing == .same)
        try await first.append(packets(2, "p"), bot: "a", logOffset: 70)
        for _ in 0..<2 {
            let next = try journal()
            try await next.append(packets(1, "p"), bot: "a", logOffset: 80)
            let meeting = try await next.meet(node: Self.node, [cursor(7)])
            #expect(meeting.standing == .same && meeting.committed == [cursor(7)] && meeting.forgotten.isEmpty)
            #expect(next.journalID == first.journalID && meeting.journalID == first.journalID)
        }
    }

    @Test(
        "Put back, it goes on under a new name: what came since is sent, and what the hub has is not",
        arguments: [1, 3, 20]
    )
    func behind(since: Int) async throws {
        let (name, hub) = try await copied()
        var copy = try journal(name)
        let old = copy.journalID
        try await copy.append(packets(since, "new"), bot: "a", logOffset: 60)
        // Starts without a hub in between change nothing.
        copy = try journal(name)
        try await copy.append(packets(1, "new"), bot: "a", logOffset: 70)
        let meeting = try await copy.meet(node: Self.node, hub)
        #expect(meeting.standing == .behind([.init(botID: "a", through: 10, toldThrough: 5)]))
        #expect(meeting.journalID != old && copy.journalID == meeting.journalID && meeting.committed.isEmpty)
        #expect(try await waiting(copy) == Array(repeating: "new", count: since + 1))
        #expect(try await copy.meet(node: Self.node, []).standing == .same)
        #expect(try journal(name).journalID == meeting.journalID)
    }

    @Test("A bot that came after the copy gives it away too, and what the hub lacks of the others is sent")
    func laterBot() async throws {
        let (name, _) = try await copied()
        let copy = try journal(name)
        let meeting = try await copy.meet(node: Self.node, [cursor(4), cursor(2, of: "b")])
        #expect(meeting.standing == .behind([.init(botID: "b", through: 2, toldThrough: 0)]))
        // The hub has the fourth of the first one and lacks the fifth.
        #expect(try await waiting(copy) == ["old"])
    }

    @Test("Where one bot gives the copy away, what the hub has of the others is not sent again, either")
    func otherBots() async throws {
        let original = try journal()
        _ = try await original.meet(node: Self.node, [])
        for bot in ["a", "b"] { try await original.append(packets(3, "old"), bot: bot, logOffset: 30) }
        try copy(to: "copy.sqlite")
        try await original.append(packets(1, "old"), bot: "a", logOffset: 40)
        let copy = try journal("copy.sqlite")
        try await copy.append(packets(1, "new"), bot: "b", logOffset: 40)
        let meeting = try await copy.meet(node: Self.node, [cursor(4), cursor(3, of: "b")])
        #expect(meeting.standing == .behind([.init(botID: "a", through: 4, toldThrough: 3)]))
        #expect(try await waiting(copy) == ["new"])
    }

    @Test("A machine that is taken back while its agent runs is noticed at the next session")
    func whileRunning() async throws {
        let journal = try journal()
        _ = try await journal.meet(node: Self.node, [])
        try await journal.append(packets(2, "p"), bot: "a", logOffset: 20)
        #expect(try await journal.meet(node: Self.node, [cursor(3)]).standing != .same)
    }

    @Test("On another node it goes on under a name of its own")
    func other() async throws {
        let original = try journal()
        _ = try await original.meet(node: Self.node, [])
        try await original.append(packets(2, "p"), bot: "a", logOffset: 20)
        try copy(to: "clone.sqlite")
        let clone = try journal("clone.sqlite")
        let meeting = try await clone.meet(node: "node-2", [])
        #expect(meeting.standing == .other(node: Self.node) && meeting.journalID != original.journalID)
        #expect(try await clone.meet(node: "node-2", []).standing == .same)
    }

    @Test("A hub that has less than it acknowledged is told apart")
    func forgotten() async throws {
        let journal = try journal()
        _ = try await journal.meet(node: Self.node, [])
        try await journal.append(packets(9, "p"), bot: "a", logOffset: 90)
        try await journal.append(packets(2, "p"), bot: "b", logOffset: 20)
        try await journal.acknowledge([cursor(7)])
        let meeting = try await journal.meet(node: Self.node, [cursor(4), cursor(0, of: "b")])
        #expect(meeting.standing == .same && meeting.forgotten == ["a"])
    }

    @Test("A journal of an earlier version has been told all it gave")
    func upgraded() async throws {
        let before = try journal()
        try await before.append(packets(5, "p"), bot: "a", logOffset: 50)
        let database = try SQLiteDatabase(path: bench.path + "/journal.sqlite")
        try database.execute(
            "DROP TABLE told; DROP TABLE beginnings; DELETE FROM meta WHERE key='beginnings'; PRAGMA user_version=3"
        )
        let after = try journal()
        #expect(try await after.meet(node: Self.node, [cursor(5)]).standing == .same)
        // It may have had another name, and nobody knows since when.
        #expect(try await after.beginnings() == nil)
    }

    @Test("It knows where the numbers begin under each of its names, and whose it was last")
    func beginnings() async throws {
        let first = try journal()
        #expect(try await first.owner() == nil)
        _ = try await first.meet(node: Self.node, [])
        try await first.append(packets(5, "p"), bot: "a", logOffset: 50)
        try await first.append(packets(2, "p"), bot: "b", logOffset: 20)
        try await first.acknowledge([cursor(3), cursor(2, of: "b")])
        #expect(try await first.beginnings() == [])
        #expect(try await first.owner() == Self.node)
        _ = try await first.meet(node: "node-2", [])
        #expect(try await first.beginnings() == [cursor(3), cursor(2, of: "b")])
        #expect(try await journal().beginnings() == [cursor(3), cursor(2, of: "b")])
        #expect(try await first.owner() == "node-2")
    }
}
