/// Which steps a deployment takes, and which of them can be left again.
struct DeploymentPlan: Sendable, Equatable {
    /// The workspace is carried to another node.
    var copies: Bool
    /// The bot is stopped and started; false for one that does not run.
    var isRunning: Bool
    /// There is another node to tidy up.
    var isMove: Bool

    init(copies: Bool, isRunning: Bool, isMove: Bool) {
        self.copies = copies
        self.isRunning = isRunning
        self.isMove = isMove
    }

    init(_ deployment: Deployment) {
        self.init(
            copies: deployment.isMove && !deployment.isForced,
            isRunning: deployment.wasRunning,
            isMove: deployment.isMove
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
        case .preCopy, .deltaCopy, .verify: copies
        // A copy of a bot that does not run is taken in one go: nothing changes it meanwhile.
        case .stop: isRunning
        case .start, .healthy: isRunning
        case .cleanUp: isMove
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
