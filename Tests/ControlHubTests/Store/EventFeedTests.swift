import Foundation
import Testing

@testable import ControlHub

@Suite("The event feed")
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
        let feed = feed(EventFeed.capacity * 2 + 500)
        var cursor: UInt64 = 10
        let batch = feed.read(after: &cursor)
        #expect(batch.missed == UInt64(EventFeed.capacity - 10), "tidied once, when it was twice as long")
        #expect(batch.events.first?.sequence == UInt64(EventFeed.capacity + 1))
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
