import TestSupport
import WireFormat

/// Simulated time, in microseconds since the simulation began.
typealias Microseconds = Int64

extension Microseconds {
    static func milliseconds(_ count: Int) -> Microseconds { Int64(count) * 1000 }
    static func seconds(_ count: Int) -> Microseconds { Int64(count) * 1_000_000 }

    /// In seconds, for people.
    var text: String { "\(self / 1_000_000).\(String(1_000_000 + self % 1_000_000).dropFirst())" }
}

/// Time, chance and order of one simulation: one loop on one thread, and nothing from outside.
///
/// Whatever happens is an event with a time; events of the same time run in the order they were scheduled. The clock
/// jumps from event to event. All chance comes from one generator. So a seed determines everything, and `digest` tells
/// two runs apart.
final class World {
    private struct Event {
        let at: Microseconds
        let order: UInt64
        let action: () -> Void

        func isBefore(_ other: Event) -> Bool { (at, order) < (other.at, other.order) }
    }

    let seed: UInt64
    var random: SeededRandom
    private(set) var now: Microseconds = 0
    private(set) var eventCount: UInt64 = 0
    /// A hash of what happened so far, and when.
    private(set) var digest: UInt64 = 0xCBF2_9CE4_8422_2325
    /// Told every line of the trace; nil where nobody reads it, so that no line is made.
    private let onTrace: ((String) -> Void)?

    private let origin = ContinuousClock.now
    private var heap: [Event] = []
    private var scheduled: UInt64 = 0

    init(seed: UInt64, onTrace: ((String) -> Void)? = nil) {
        self.seed = seed
        self.onTrace = onTrace
        random = SeededRandom(seed: seed)
    }

    // MARK: Time

    /// The present as machines take it.
    var instant: ContinuousClock.Instant { origin + .microseconds(now) }

    /// The first simulated moment not before `instant`.
    func moment(_ instant: ContinuousClock.Instant) -> Microseconds {
        let (seconds, attoseconds) = (instant - origin).components
        let micros = 1_000_000_000_000 as Int64
        return seconds * 1_000_000 + attoseconds / micros + (attoseconds % micros > 0 ? 1 : 0)
    }

    /// The number of events that wait.
    var pendingEventCount: Int { heap.count }

    func after(_ delay: Microseconds, _ action: @escaping () -> Void) { at(now + delay, action) }

    func at(_ time: Microseconds, _ action: @escaping () -> Void) {
        scheduled += 1
        heap.append(Event(at: max(time, now), order: scheduled, action: action))
        siftUp(heap.count - 1)
    }

    /// Runs the next event; false where none waits before `limit`.
    func runNext(before limit: Microseconds) -> Bool {
        guard let first = heap.first, first.at < limit else { return false }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            siftDown()
        }
        now = first.at
        eventCount += 1
        first.action()
        return true
    }

    /// Lets time pass in which nothing happens.
    func skip(to time: Microseconds) { now = max(now, time) }

    private func siftUp(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].isBefore(heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private func siftDown() {
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
                if heap[child].isBefore(heap[least]) { least = child }
            }
            guard least != parent else { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }

    // MARK: Chance

    func pick(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }

    func pick(_ range: ClosedRange<Microseconds>) -> Microseconds { Int64.random(in: range, using: &random) }

    func chance(_ percent: Int) -> Bool { percent > 0 && pick(1...100) <= percent }

    // MARK: Record

    /// Notes that something happened: into the digest always, into the trace where somebody reads it.
    func note(_ what: @autoclosure () -> String, _ values: Int...) {
        mix(UInt64(bitPattern: now))
        for value in values { mix(UInt64(bitPattern: Int64(value))) }
        if let onTrace { onTrace("\(now.text)  \(what())") }
    }

    private func mix(_ value: UInt64) {
        digest = (digest ^ value) &* 0x0000_0100_0000_01B3
        digest ^= digest >> 29
    }
}

/// A wall clock that is wrong by some offset and may jump.
struct WallClock {
    /// The first moment of every simulation on a clock that is right.
    static let start: UInt64 = 1_800_000_000_000

    var offsetMilliseconds: Int64 = 0

    func unixMilliseconds(_ world: World) -> UInt64 {
        UInt64(Int64(Self.start) + world.now / 1000 + offsetMilliseconds)
    }

    func time(_ world: World) -> SessionTime {
        SessionTime(instant: world.instant, unixMilliseconds: unixMilliseconds(world))
    }
}
