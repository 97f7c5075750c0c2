import CLinux
import Glibc

/// What one launch is kept in, made ready by its supervisor before there is a process.
struct LaunchIsolation: ~Copyable {
    let cage: Cage?
    private let ruleset: LandlockRuleset
    private let filter: [CLinux_filter_step]
    /// Whether the filter asks the supervisor.
    let asks: Bool
    /// For the status.
    let inForce: [IsolationInForce]

    /// - Parameter mayAsk: false where the kernel has told that somebody else is asked already.
    /// - Throws: in words, where the kernel does not do what it promises.
    init(_ plan: LaunchPlan, _ features: IsolationFeatures, mayAsk: Bool) throws(IsolationFailure) {
        cage = plan.cage
        asks = mayAsk && plan.cage != nil && features.answersCalls(of: plan.user)
        ruleset = try LandlockRuleset(plan.cage ?? Cage(), version: plan.cage == nil ? 0 : features.landlock)
        filter = plan.cage.map { [asks] in features.filter($0, asks: asks) } ?? []
        let hasOwnUser = plan.user.map { $0.uid != 0 } ?? false
        inForce = features.inForce(plan.cage, hasOwnUser: hasOwnUser, answersCalls: asks)
    }

    /// Tells the launch for as long as the body runs.
    borrowing func fill<Value>(_ launch: inout CLinux_launch, _ body: (inout CLinux_launch) -> Value) -> Value {
        launch.drops_privileges = cage == nil ? 0 : 1
        launch.ruleset = ruleset.descriptor
        launch.asks = asks ? 1 : 0
        return filter.withUnsafeBufferPointer { steps in
            launch.filter = steps.baseAddress
            launch.filter_count = steps.count
            return body(&launch)
        }
    }
}

extension IsolationFeatures {
    /// Whether supervisors answer for the calls of such bots. Files of a bot with another user are kept by that; without Landlock
    /// there would be little sense in it.
    func answersCalls(of user: BotUser?) -> Bool {
        landlock > 0 && filtersCalls && user == nil && CallAnswers.arePossible()
    }

    /// The filter of system calls; empty where none can be used.
    func filter(_ cage: Cage, asks: Bool) -> [CLinux_filter_step] {
        guard filtersCalls else { return [] }
        var steps = [CLinux_filter_step](repeating: CLinux_filter_step(), count: Int(CLINUX_FILTER_ROOM))
        var options = CLinux_filter_options()
        options.unix_sockets = cage.opensUnixSockets ? 1 : 0
        options.refuses_truncate = landlock < 3 ? 1 : 0
        options.asks = asks ? 1 : 0
        let count = CLinux_filter_write(&steps, options)
        return Array(steps.prefix(count))
    }
}
