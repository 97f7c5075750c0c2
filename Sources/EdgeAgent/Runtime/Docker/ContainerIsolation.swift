/// What keeps a container to itself: the engine, and what its profile says.
enum ContainerIsolation {
    static func inForce(_ settings: ContainerSettings) -> [IsolationInForce] {
        IsolationInForce.Aspect.allCases.map { aspect in
            func side(_ mechanism: IsolationInForce.Mechanism, _ note: String) -> IsolationInForce {
                IsolationInForce(aspect: aspect, mechanism: mechanism, note: note)
            }
            switch aspect {
            case .user: return side(.none, "its user has the same number on the node")
            case .privileges where settings.allowsNewPrivileges:
                return side(.none, "the profile lets programs in the container gain rights")
            case .unixSockets: return side(.engine, "it reaches those that are mounted into its container")
            case .files, .attributes: return side(.engine, "its container has its own, and what is mounted into it")
            case .devices, .processes, .signals, .systemCalls, .privileges:
                return side(.engine, "as the engine has it for containers")
            }
        }
    }
}
