/// What time it is by a wall clock that may be wrong, and what may be called old by it.
///
/// Nobody can tell a clock that was put right from one that was put wrong. So time goes on as the monotonic clock does, a
/// wall clock that jumps is followed only once it has stayed where it jumped to, and what is destroyed for its age is judged
/// by an `AgeHorizon`, which never gains more than the time that really passed. Milliseconds since 1970, and since boot.
public struct JudgedTime: Sendable, Equatable {
    /// Clocks that are apart by less are alike: time servers correct so much at a time.
    public static let tolerance: Int64 = 60_000
    /// A jump is followed once it has lasted so long. Time servers put a machine right within it.
    public static let trial: Int64 = 600_000
    /// A machine that was off for longer than this is one whose clock is wrong, until the trial is over.
    public static let longestAbsence: Int64 = 30 * 86_400_000
    /// Jumps ahead of which it is known that a clock which comes back comes back from them.
    static let maximumLeaps = 8

    /// A jump ahead that was followed.
    public struct Leap: Sendable, Equatable {
        /// The time it was.
        public let from: Int64
        /// The time it was said to be from then on.
        public let to: Int64
        /// By a step, and not because the machine was off for so long.
        public let isStep: Bool
    }

    /// A jump that is to be followed, by so many milliseconds.
    public struct Step: Sendable, Equatable {
        /// How far.
        public let by: Int64
        /// The jump ahead from which the clock comes back: what was dated after `to` is of a time that has not come yet.
        public let undoes: Leap?
    }

    /// What a look at the clocks showed.
    public enum Finding: Sendable, Equatable {
        case steady
        /// The wall clock has just jumped, and is not believed yet.
        case jumped(by: Int64)
        /// It is back where it should be.
        case isBack
        /// It has stayed: carry the step out and call `take`. Told again until then.
        case stays(Step)
    }

    /// As written down, to go on from after a restart.
    public struct Mark: Sendable, Equatable {
        /// The time.
        public var time: Int64
        /// That of the `AgeHorizon`.
        public var horizon: Int64
        /// When it was written down.
        public var sinceBoot: Int64
        /// Another one after each boot. Without blanks.
        public var bootID: String
        /// How far it was followed back, from no leap, and may come again.
        public var fallen: Int64 = 0
        /// The jumps ahead that were followed, the oldest first.
        public var leaps: [Leap] = []
    }

    private var base: Int64
    private var began: Int64
    private var age: AgeHorizon
    private var leaps: [Leap] = []
    private var fallen: Int64 = 0
    private var doubt: Doubt?
    private var settlesAt: Int64
    private let trial: Int64

    /// Where the wall clock has jumped to, and when.
    private struct Doubt: Equatable {
        let by: Int64
        let since: Int64
    }

    /// - Parameters:
    ///   - mark: where it was last; nil for the first time.
    ///   - newest: the newest time that is known of before there were marks; nil where nothing is.
    ///   - trial: milliseconds; another one in tests.
    public init(
        after mark: Mark?,
        newest: Int64? = nil,
        sinceBoot: Int64,
        bootID: String,
        wall: Int64,
        trial: Int64 = Self.trial
    ) {
        self.trial = trial
        began = sinceBoot
        settlesAt = sinceBoot
        guard let mark else {
            base = wall
            age = AgeHorizon(min(wall, newest ?? wall), sinceBoot: sinceBoot)
            return
        }
        leaps = mark.leaps
        fallen = mark.fallen
        age = AgeHorizon(mark.horizon, sinceBoot: sinceBoot)
        guard mark.bootID != bootID || sinceBoot < mark.sinceBoot else {
            let elapsed = sinceBoot.clampedSubtracting(mark.sinceBoot)
            base = mark.time.clampedAdding(elapsed)
            age = AgeHorizon(mark.horizon, sinceBoot: mark.sinceBoot)
            age.advance(to: base, sinceBoot: sinceBoot)
            return
        }
        let absence = wall.clampedSubtracting(mark.time)
        guard absence >= 0, absence <= Self.longestAbsence else {
            base = mark.time
            return
        }
        base = wall
        if absence > Self.tolerance {
            remember(Leap(from: mark.time, to: wall, isStep: false))
            settlesAt = sinceBoot.clampedAdding(trial)
        }
    }

    /// The time.
    public func time(sinceBoot: Int64) -> Int64 { base.clampedAdding(max(0, sinceBoot.clampedSubtracting(began))) }

    /// What is dated before this is surely as old as it looks.
    public func horizon(sinceBoot: Int64) -> Int64 { min(age.time, time(sinceBoot: sinceBoot)) }

    /// False while it is not sure that the time since the machine was last seen was as long as the clock says.
    public func isSettled(sinceBoot: Int64) -> Bool { doubt == nil && sinceBoot >= settlesAt }

    /// To be written down now and then.
    public func mark(sinceBoot: Int64, bootID: String) -> Mark {
        Mark(
            time: time(sinceBoot: sinceBoot),
            horizon: age.time,
            sinceBoot: sinceBoot,
            bootID: bootID,
            fallen: fallen,
            leaps: leaps
        )
    }

    /// Looks at both clocks; to be called at least as often as a jump is to be noticed.
    public mutating func observe(sinceBoot: Int64, wall: Int64) -> Finding {
        base = time(sinceBoot: sinceBoot)
        began = max(began, sinceBoot)
        let by = wall.clampedSubtracting(base)
        if by.magnitude <= UInt64(clamping: Self.tolerance) {
            base = wall
            age.advance(to: base, sinceBoot: sinceBoot)
            let wasInDoubt = doubt != nil
            doubt = nil
            return wasInDoubt ? .isBack : .steady
        }
        age.advance(to: base, sinceBoot: sinceBoot)
        guard let doubt,
            by.clampedSubtracting(doubt.by).magnitude <= UInt64(clamping: Self.tolerance)
        else {
            self.doubt = Doubt(by: by, since: sinceBoot)
            return .jumped(by: by)
        }
        guard sinceBoot.clampedSubtracting(doubt.since) >= trial else { return .steady }
        return .stays(Step(by: by, undoes: undone(by: wall)))
    }

    /// The step was carried out.
    public mutating func take(_ step: Step) {
        let before = base
        base = base.clampedAdding(step.by)
        doubt = nil
        // Some of what was being stored may still be of the time before.
        settlesAt = max(settlesAt, began.clampedAdding(Self.tolerance))
        if let undone = step.undoes {
            leaps.removeAll { $0.to >= undone.to }
            fallen = 0
        } else if step.by < 0 {
            fallen = fallen.clampedSubtracting(step.by)
        } else if step.by <= fallen.clampedAdding(Self.tolerance) {
            // Back where it was before somebody put it wrong.
            fallen = max(0, fallen.clampedSubtracting(step.by))
        } else {
            remember(Leap(from: before.clampedAdding(fallen), to: base, isStep: true))
            fallen = 0
        }
    }

    private func undone(by wall: Int64) -> Leap? {
        leaps.filter { leap in
            leap.from.clampedSubtracting(Self.tolerance) <= wall && wall < leap.to.clampedSubtracting(Self.tolerance)
        }.min { $0.to < $1.to }
    }

    private mutating func remember(_ leap: Leap) {
        leaps.append(leap)
        leaps.removeFirst(max(0, leaps.count - Self.maximumLeaps))
    }
}

extension JudgedTime.Mark {
    /// One line.
    public var text: String {
        let words = leaps.map { "\($0.from)\($0.isStep ? ">" : "~")\($0.to)" }
        return (["\(time)", "\(horizon)", "\(sinceBoot)", bootID, "\(fallen)"] + words).joined(separator: " ")
    }

    /// Nil where it is none.
    public init?(_ text: String) {
        let parts = text.split(separator: " ")
        guard parts.count >= 5, let time = Int64(decimal: parts[0]), let horizon = Int64(decimal: parts[1]),
            let sinceBoot = Int64(decimal: parts[2]), let fallen = Int64(decimal: parts[4])
        else { return nil }
        var leaps: [JudgedTime.Leap] = []
        for part in parts.dropFirst(5).prefix(JudgedTime.maximumLeaps) {
            let ends = part.split { $0 == ">" || $0 == "~" }
            guard ends.count == 2, let from = Int64(decimal: ends[0]), let to = Int64(decimal: ends[1]) else {
                return nil
            }
            leaps.append(JudgedTime.Leap(from: from, to: to, isStep: part.contains(">")))
        }
        self.init(
            time: time,
            horizon: horizon,
            sinceBoot: sinceBoot,
            bootID: String(parts[3]),
            fallen: fallen,
            leaps: leaps
        )
    }
}

/// The time by which things are old. Behind a clock it goes at most twice as fast as time passes, before it it stands still: so
/// a clock that is wrong for an hour makes nothing older by more than another hour.
public struct AgeHorizon: Sendable, Equatable {
    /// Milliseconds since 1970.
    public private(set) var time: Int64
    private var sinceBoot: Int64

    /// Begins at a time of day.
    public init(_ time: Int64, sinceBoot: Int64) {
        (self.time, self.sinceBoot) = (time, sinceBoot)
    }

    /// Follows a clock that shows `clock`.
    public mutating func advance(to clock: Int64, sinceBoot: Int64) {
        let elapsed = max(0, sinceBoot.clampedSubtracting(self.sinceBoot))
        self.sinceBoot = max(self.sinceBoot, sinceBoot)
        guard clock > time else { return }
        time = min(clock, time.clampedAdding(elapsed.clampedMultiplied(by: 2)))
    }
}
