/// Which steps a deployment takes, and which of them can be left again.
struct DeploymentPlan: Sendable, Equatable {
    /// A workspace is carried to the target.
    var copies: Bool
    /// It is the source's, which may have changed since the pre-copy.
    var copiesFromSource: Bool
    /// The bot is stopped and started; false for one that does not run.
    var isRunning: Bool
    /// There is another node to tidy up.
    var isMove: Bool

    init(copies: Bool, isRunning: Bool, isMove: Bool, copiesFromSource: Bool = true) {
        self.copies = copies
        self.copiesFromSource = copiesFromSource
        self.isRunning = isRunning
        self.isMove = isMove
    }

    init(_ deployment: Deployment) {
        self.init(
            copies: deployment.origin == .snapshot || deployment.isMove && deployment.origin == .source,
            isRunning: deployment.wasRunning,
            isMove: deployment.isMove,
            copiesFromSource: deployment.origin == .source
        )
    }

    var steps: [DeploymentStep] { DeploymentStep.allCases.filter(takes) }

    /// The step after `step`; nil after the last.
    func step(after step: DeploymentStep) -> DeploymentStep? {
        DeploymentStep.allCases.drop { $0 != step }.dropFirst().first(where: takes)
    }

    private func takes(_ step: DeploymentStep) -> Bool {
        switch step {
        case .preflight, .commit: true
        case .preCopy, .verify: copies
        case .deltaCopy: copies && copiesFromSource
        // A copy of a bot that does not run is taken in one go: nothing changes it meanwhile.
        case .stop: isRunning
        case .start, .healthy: isRunning
        case .cleanUp: isMove || copies
        }
    }

    /// Whether a failure in this step, or the operator's wish, brings the bot back to where it was.
    static func canReturn(from step: DeploymentStep) -> Bool {
        switch step {
        case .preflight, .preCopy, .stop, .deltaCopy, .verify, .start, .healthy: true
        case .commit, .cleanUp: false
        }
    }

    /// Whether messages wait on the hub during this step instead of going to a bot that is about to stop.
    static func holdsMessages(in step: DeploymentStep) -> Bool {
        switch step {
        case .preflight, .preCopy, .commit, .cleanUp: false
        case .stop, .deltaCopy, .verify, .start, .healthy: true
        }
    }
}
