import Foundation
import Logging
import Synchronization
import TestSupport
import Testing

@testable import ControlHub

@Suite("Things done again and again", .timeLimit(.minutes(1)))
struct PeriodicServiceTests {
    @Test("are done after each period, also after the database could not take them, and end with the task")
    func rounds() async throws {
        let clock = ManualClock()
        let (rounds, told) = AsyncStream.makeStream(of: Int.self)
        let count = Mutex(0)
        let service = PeriodicService(
            name: "counting",
            clock: HubClock(now: { clock.now }, date: { .now }, sleep: { try await clock.sleep(until: $0) }),
            logger: Logger(label: "test")
        ) {
            let round = count.withLock { count in
                count += 1
                return count
            }
            told.yield(round)
            if round == 1 { throw HubError(.storageFull, "full") }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.run() }
            var iterator = rounds.makeAsyncIterator()
            for expected in 1...3 {
                await clock.nextSleeper()
                #expect(count.withLock { $0 } == expected - 1)
                clock.advance(by: .seconds(5))
                #expect(await iterator.next() == expected)
            }
            group.cancelAll()
            try await group.waitForAll()
        }
    }
}
