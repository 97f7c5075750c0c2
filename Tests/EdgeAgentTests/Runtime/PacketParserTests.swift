import Testing

@testable import EdgeAgent

@Suite struct PacketParserTests {
    private func ingest(_ lines: [[UInt8]]) throws -> (record: BotRecord, packets: [Journal.NewPacket]) {
        var record = BotRecord()
        record.launch = BotRecord.Launch(launchID: "l")
        let records = try lines.map { text in
            let line = Array("2026-01-31T12:00:00.123456789Z packet F ".utf8) + text
            return try #require(LogRecord(line: line[...], offset: 0))
        }
        let packets = record.ingest(records)
        return (record, packets)
    }

    @Test("An object that is no UTF-8 is no packet: what the hub gets is JSON")
    func invalidUTF8() throws {
        let broken = Array(#"{"type":"r"#.utf8) + [0xBF] + Array(#"ady"}"#.utf8)
        #expect(PacketFields(broken) == nil)
        #expect(try ingest([broken]).packets.isEmpty)
    }

    @Test("A bot that counts to the end of all numbers does no harm")
    func greatestSequence() throws {
        let lines = [#"{"seq":18446744073709551615}"#, #"{"seq":1}"#, #"{"seq":18446744073709551615}"#]
        let (record, packets) = try ingest(lines.map { Array($0.utf8) })
        // The numbers are no numbers; the packets are packets.
        #expect(packets.map(\.botSequence) == [0, 1, 0])
        #expect(record.launch?.lastSequence == 1)
        let greatest = try ingest([#"{"seq":9007199254740992}"#, #"{"seq":1}"#].map { Array($0.utf8) })
        #expect(greatest.packets.map(\.type) == ["gap", "", ""] && greatest.record.launch?.lastSequence == 1)
    }
}
