import Testing

@testable import WebSocketKitLite

@Suite("Happy Eyeballs")
struct ConnectionRaceTests {
    private let start = ContinuousClock.now

    private func makeRace(_ count: Int, attempt: Duration = .seconds(10), total: Duration = .seconds(30))
        -> ConnectionRace
    {
        var limits = ConnectionRace.Limits()
        limits.attempt = attempt
        limits.total = total
        return ConnectionRace(count: count, limits: limits, now: start)
    }

    private func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    private func actions(_ race: inout ConnectionRace) -> [ConnectionRace.Action] {
        var all: [ConnectionRace.Action] = []
        while let action = race.nextAction() { all.append(action) }
        return all
    }

    @Test("gives each address 250 ms before the next is tried beside it")
    func delays() {
        var race = makeRace(3)
        #expect(actions(&race) == [.start(0)])
        #expect(race.nextDeadline == at(250))
        race.tick(now: at(249))
        #expect(actions(&race) == [])
        race.tick(now: at(250))
        #expect(actions(&race) == [.start(1)])
        race.tick(now: at(500))
        #expect(actions(&race) == [.start(2)])
        race.succeeded(1, now: at(600))
        #expect(actions(&race) == [.abandon(0), .abandon(2), .finish(.won(1))])
        #expect(race.nextDeadline == nil)
    }

    @Test("tries the next at once when one fails, and ends when all have")
    func failures() {
        var race = makeRace(3)
        #expect(actions(&race) == [.start(0)])
        race.failed(0, now: at(10))
        #expect(actions(&race) == [.start(1)])
        #expect(race.nextDeadline == at(260))
        race.failed(1, now: at(20))
        #expect(actions(&race) == [.start(2)])
        race.failed(2, now: at(30))
        #expect(actions(&race) == [.finish(.allFailed)])
    }

    @Test("one that fails late starts no address twice")
    func lateFailure() {
        var race = makeRace(2)
        race.tick(now: at(250))
        #expect(actions(&race) == [.start(0), .start(1)])
        race.failed(0, now: at(300))
        #expect(actions(&race) == [])
        race.failed(0, now: at(301))
        race.succeeded(1, now: at(400))
        #expect(actions(&race) == [.finish(.won(1))])
    }

    @Test("an address has its limit and so has the race")
    func limits() {
        var race = makeRace(2, attempt: .seconds(1), total: .milliseconds(1500))
        race.tick(now: at(600))
        #expect(actions(&race) == [.start(0), .start(1)])
        #expect(race.nextDeadline == at(1000))
        race.tick(now: at(1000))
        #expect(actions(&race) == [.abandon(0)])
        #expect(race.nextDeadline == at(1500))
        race.tick(now: at(1500))
        #expect(actions(&race) == [.abandon(1), .finish(.timedOut)])

        var alone = makeRace(1, attempt: .seconds(1))
        race = alone
        _ = actions(&alone)
        alone.tick(now: at(1000))
        #expect(actions(&alone) == [.abandon(0), .finish(.allFailed)])
    }

    @Test("a connection that comes after the end is closed")
    func lateSuccess() {
        var race = makeRace(2)
        race.tick(now: at(250))
        race.succeeded(0, now: at(260))
        _ = actions(&race)
        race.succeeded(1, now: at(261))
        #expect(actions(&race) == [.abandon(1)])
        #expect(race.outcome == .won(0))
    }

    @Test("no address at all is a failure")
    func nothing() {
        var race = makeRace(0)
        #expect(actions(&race) == [.finish(.allFailed)])
    }

    @Test(
        "families take turns, each in its own order, beginning with the system's choice",
        arguments: [
            ([6, 6, 6, 4, 4], [0, 3, 1, 4, 2]), ([4, 6, 6], [0, 1, 2]), ([4, 4], [0, 1]), ([], []),
            ([6, 4, 6, 4], [0, 1, 2, 3]), ([4, 4, 4, 6], [0, 3, 1, 2]),
        ] as [([Int32], [Int])]
    )
    func order(families: [Int32], expected: [Int]) {
        let addresses = families.enumerated().map { (index: $0, family: $1) }
        #expect(ConnectionRace.interleaved(addresses, family: \.family).map(\.index) == expected)
    }
}
