import Foundation
import Synchronization
import Testing

@testable import EdgeAgent

@Suite("Threads for work that takes long", .timeLimit(.minutes(2)))
struct FileWorkExecutorTests {
    /// Uses up the processor until it is told to end.
    private static func spin(_ isOver: borrowing Atomic<Bool>, until deadline: ContinuousClock.Instant) -> Bool {
        while ContinuousClock.now < deadline {
            if isOver.load(ordering: .acquiring) { return true }
        }
        return false
    }

    private final class Flag: Sendable {
        let isOver = Atomic(false)
        let begun = Atomic(0)
    }

    @Test("More busy tasks than there are processors leave the others theirs")
    func busy() async {
        let executor = FileWorkExecutor(label: "test.busy")
        let flag = Flag()
        let count = ProcessInfo.processInfo.activeProcessorCount + 2
        let deadline = ContinuousClock.now + .seconds(20)
        let ended = await withTaskGroup { group in
            for _ in 0..<count {
                group.addTask(executorPreference: executor) {
                    flag.begun.add(1, ordering: .acquiringAndReleasing)
                    return Self.spin(flag.isOver, until: deadline)
                }
            }
            group.addTask {
                // All of them at the same time, and this one beside them.
                while flag.begun.load(ordering: .acquiring) < count, ContinuousClock.now < deadline {
                    await Task.yield()
                }
                flag.isOver.store(true, ordering: .releasing)
                return true
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(flag.begun.load(ordering: .acquiring) == count)
        #expect(!ended.contains(false), "the cooperative pool had no thread")
    }

    @Test("Work that suspends comes back to such a thread, and the result is what it says")
    func suspends() async {
        let executor = FileWorkExecutor(label: "test.suspends")
        let sum = await withTaskGroup { group in
            for number in 0..<100 {
                group.addTask(executorPreference: executor) {
                    for _ in 0..<20 { await Task.yield() }
                    return number
                }
            }
            return await group.reduce(0, +)
        }
        #expect(sum == 4950)
    }
}
