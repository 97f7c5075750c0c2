import Foundation
import Testing

@testable import ControlHub

@Suite("The event feed", .timeLimit(.minutes(1)))
struct EventFeedTests {
    private func feed(_ count: Int) -> EventFeed {
        let feed = EventFeed(run: "run")
        for number in 0..<count { feed.publish("test", at: TestHub.start, .integer(Int64(number))) }
        return feed
    }

    @Test("gives every event once, in order and in bounded pieces")
    func inOrder() {
        let feed = feed(250)
        var cursor: UInt64 = 0
        var seen: [UInt64] = []
        while true {
            let batch = feed.read(after: &cursor)
            if batch.events.isEmpty { break }
            #expect(batch.missed == 0 && batch.events.count <= EventFeed.batchLimit)
            seen += batch.events.map(\.sequence)
        }
        #expect(seen == Array(1...250))
    }

    @Test("tells a reader that fell behind how many it missed")
    func missed() {
        let feed = feed(EventFeed.capacity + EventFeed.slack * 3 / 2)
        var cursor: UInt64 = 10
        let batch = feed.read(after: &cursor)
        #expect(batch.missed == UInt64(EventFeed.slack - 10), "tidied once, when it was too long by the slack")
        #expect(batch.events.first?.sequence == UInt64(EventFeed.slack + 1))
    }

    @Test("keeps only the newest of figures that are measured again and again, however many there are")
    func superseding() {
        let feed = EventFeed(run: "run")
        feed.publish("first", at: TestHub.start, .null)
        for number in 0..<EventFeed.capacity * 5 {
            feed.publish("figure", at: TestHub.start, .integer(Int64(number)), supersedes: "node-\(number % 7)")
        }
        var cursor: UInt64 = 0
        let batch = feed.read(after: &cursor)
        #expect(batch.missed == 0)
        #expect(batch.events.map(\.type) == ["first"] + Array(repeating: "figure", count: 7))
        #expect(batch.events.last?.data == .integer(Int64(EventFeed.capacity * 5 - 1)))
        #expect(cursor == feed.newest)
        let history = feed.history(before: nil, limit: 2) { $0.type == "figure" }
        #expect(history.map(\.sequence) == [feed.newest, feed.newest - 1])
    }

    @Test("keeps what happened, however many nodes say how they are")
    func manyNodes() {
        let feed = EventFeed(run: "run")
        for number in 0..<1000 { feed.publish("happened", at: TestHub.start, .integer(Int64(number))) }
        for round in 0..<3 {
            for node in 0..<10_000 {
                feed.publish("figure", at: TestHub.start, .integer(Int64(round)), supersedes: "node-\(node)")
            }
        }
        var cursor: UInt64 = 0
        var batches: [EventFeed.Batch] = []
        repeat { batches.append(feed.read(after: &cursor)) } while cursor < feed.newest
        #expect(batches.allSatisfy { $0.missed == 0 })
        let types = batches.flatMap(\.events).map(\.type)
        #expect(types.count { $0 == "happened" } == 1000)
        #expect(types.count { $0 == "figure" } <= EventFeed.capacity + EventFeed.slack)
        #expect(types.count { $0 == "figure" } >= EventFeed.passingCapacity)
    }

    @Test("hands out what was published, whatever it holds, with the time beside it")
    func texts() async throws {
        let values: [JSONValue] = [
            .object([
                "text": .string("a \"quoted\" \\ line\nwith \u{1} and \u{1F600} é"), "none": .null, "yes": .bool(true),
                "list": .array([.integer(.min), .number(0.25), .number(3), .object([:])]), "": .string(""),
            ]),
            .object([:]), .array([]), .integer(7), .string("x"),
        ]
        let feed = EventFeed(run: "run")
        let reader = EventReader(feed: feed, lastEventID: nil)
        for value in values { feed.publish("test", at: TestHub.start, value) }
        var cursor: UInt64 = 0
        let kept = feed.read(after: &cursor).events.map(\.data)
        // A whole number has one text, and is read as an integer.
        #expect(kept.dropFirst() == values.dropFirst())
        #expect(kept.first?["text"] == values[0]["text"] && kept.first?["none"] == .null)
        #expect(kept.first?["list"] == .array([.integer(.min), .number(0.25), .integer(3), .object([:])]))
        let sent = try #require(try await reader.next()).map { try JSONDecoder().decode(JSONValue.self, from: $0.data) }
        #expect(sent.first?["at"] == .string("2026-01-01T00:00:00.000Z") && sent.first?["yes"] == .bool(true))
        #expect(sent.last == .string("x"))
        feed.publish("test", at: TestHub.start, .object(["never": .number(.nan)]))
        #expect(feed.read(after: &cursor).events.first?.data["never"] == .null)
    }

    @Test("resumes after an id of this run and of no other")
    func resume() {
        let feed = feed(5)
        #expect(feed.cursor(lastEventID: "run-3") == 3)
        #expect(feed.cursor(lastEventID: "other-3") == nil)
        #expect(feed.cursor(lastEventID: "3") == nil)
        #expect(feed.cursor(lastEventID: "run-99") == 5)
    }

    @Test("a reader waits for news, gets them with ids, and hears of a restart")
    func reader() async throws {
        let feed = feed(2)
        let reader = EventReader(feed: feed, lastEventID: "run-1")
        let first = try #require(try await reader.next())
        #expect(first.map(\.id) == ["run-2"])
        async let waiting = reader.next()
        feed.publish("later", at: TestHub.start, .object(["a": .integer(1)]))
        let second = try #require(try await waiting)
        #expect(second.map(\.name) == ["later"])
        let restarted = EventReader(feed: feed, lastEventID: "before-7")
        #expect(try await restarted.next()?.map(\.name) == ["missed"])
    }
}

@Suite("The event feed's bytes", .timeLimit(.minutes(1)))
struct EventFeedBytesTests {
    private func event(_ bytes: Int, _ members: [String: JSONValue] = [:]) -> JSONValue {
        .object(members.merging(["text": .string(String(repeating: "x", count: bytes))]) { $1 })
    }

    @Test("keeps no more bytes than it may, and tells readers that fell behind how many events went")
    func ring() {
        let feed = EventFeed(run: "run")
        var cursor: UInt64 = 0
        for number in 0..<4000 {
            feed.publish("test", at: TestHub.start, event(15_000, ["n": .integer(Int64(number))]))
            #expect(feed.bytes <= EventFeed.capacityBytes + HubEvent.maximumBytes + 1024)
        }
        let batch = feed.read(after: &cursor)
        #expect(batch.missed > 2500 && batch.missed < 4000)
        #expect(batch.events.first?.sequence == batch.missed + 1)
        var count = UInt64(batch.events.count)
        while case let more = feed.read(after: &cursor), !more.events.isEmpty {
            #expect(more.missed == 0 && more.events.reduce(0) { $0 + $1.bytes } < EventFeed.batchBytes + 17_000)
            count += UInt64(more.events.count)
        }
        #expect(batch.missed + count == 4000)
    }

    @Test("a single event that is too large is told without its longest parts")
    func large() {
        let feed = EventFeed(run: "run")
        let data = event(1_000_000, ["bot_id": .string("bot"), "list": .array([.null]), "id": .integer(7)])
        feed.publish("packet", at: TestHub.start, data)
        var cursor: UInt64 = 0
        let told = feed.read(after: &cursor).events.first
        #expect(told?.data == .object(["bot_id": .string("bot"), "id": .integer(7), "shortened": .bool(true)]))
        #expect(told?.botID == "bot")
    }
}
