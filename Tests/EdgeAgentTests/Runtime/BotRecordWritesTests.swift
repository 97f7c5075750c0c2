import Testing

@testable import EdgeAgent

extension BotFleet {
    fileprivate func hold(_ botID: String) async throws {
        let bot = Bot(botID: botID, record: BotRecord())
        bots[botID] = bot
        try await save(bot)
    }

    fileprivate func ingest(_ botID: String) async {
        if let bot = bots[botID] { await ingestAll(bot) }
    }

    fileprivate func save(_ botID: String) async throws {
        if let bot = bots[botID] { try await save(bot) }
    }

    fileprivate func record(_ botID: String) -> BotRecord? { bots[botID]?.record }
}

/// What of a bot is in the journal goes with how far its log was read.
@Suite(.timeLimit(.minutes(2)))
struct BotRecordWritesTests {
    @Test("A record from before what the log told is not written behind it, whoever writes at the same time")
    func order() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let journal = try bench.journal()
        let fleet = try bench.fleet([bench.shell("exit 0")], journal: journal)
        try Files.makeDirectory(bench.directory("a"), mode: 0o700)
        try Files.makeDirectory(bench.directory("a") + "/.agent", mode: 0o700)
        try Files.makeDirectory(bench.logs("a"), mode: 0o700)
        try await fleet.hold("a")
        var writer = LogSegmentWriter(directory: bench.logs("a"), limits: LogSegmentWriter.Limits())
        for round in 1...300 {
            let event = #"{"event":"\#(SupervisorEvent.Name.exited)","launch_id":"l\#(round)","code":\#(round % 200)}"#
            writer.append(PacketIngestModelTests.record(.supervisor, event), count: 1)
            try await withThrowingTaskGroup { group in
                group.addTask { await fleet.ingest("a") }
                for _ in 0..<3 { group.addTask { try await fleet.save("a") } }
                try await group.waitForAll()
            }
            #expect(try await journal.logCursor("a") == writer.endOffset)
            // What another agent would begin with, were this one killed now.
            let written = try #require(try await journal.bots()["a"])
            try #require(await BotRecord(written) == fleet.record("a"), "round \(round)")
        }
    }
}
