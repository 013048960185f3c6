%% The commands of `emqx_ctl`: what they print, and whether they say that they worked. Some say so although they did not, as the
%% vendor's do.
-module(emqx_ctl).

-export([run/1]).

%% Does a command; gives what is printed and the exit status.
run(["status"]) ->
    say("Node ~p ~s is started~n", [node(), emqx_sys:version()]);
run(["broker"]) ->
    Lines = [{sysdescr, emqx_sys:sysdescr()}, {version, emqx_sys:version()},
             {uptime, emqx_sys:uptime()}, {datetime, emqx_sys:datetime()}],
    {[io_lib:format("~-10s: ~s~n", [Name, Value]) || {Name, Value} <- Lines], 0};
run(["broker", "stats"]) ->
    say("~-30s: ~w~n", ["connections.count", emqx_listener:connections()]);
run(["cluster", "status"]) ->
    cluster_status();
run(["cluster", "join", Node]) ->
    case emqx_cluster:join(list_to_atom(Node)) of
        ok ->
            {Status, 0} = cluster_status(),
            {["Join the cluster successfully.\n", Status], 0};
        {error, Reason} ->
            say("Failed to join the cluster: ~0p~n", [Reason])
    end;
run(["cluster", "leave"]) ->
    case emqx_cluster:leave() of
        ok ->
            {Status, 0} = cluster_status(),
            {["Leave the cluster successfully.\n", Status], 0};
        {error, Reason} ->
            say("Failed to leave the cluster: ~0p~n", [Reason])
    end;
run(["cluster", "force-leave", Node]) ->
    case emqx_cluster:force_leave(list_to_atom(Node)) of
        ok ->
            {Status, 0} = cluster_status(),
            {["Remove the node from cluster successfully.\n", Status], 0};
        Reason ->
            say("Failed to remove the node from cluster: ~0p~n", [Reason])
    end;
run(["plugins", "list"]) ->
    {[io_lib:format("Plugin(~s, description=~s, active=~s)~n", [Name, Description, Active])
      || {plugin, Name, _, Description, _, Active, _, _} <- emqx_plugins:list()], 0};
run(["resources", "list"]) ->
    {"", 0};
run(["listeners"]) ->
    say("mqtt:tcp~n  listen_on       : ~s~n  running         : true~n  current_conn    : ~w~n",
        [address(application:get_env(emqx, tcp)), emqx_listener:connections()]);
run(["data", "export"]) ->
    {ok, Directory} = application:get_env(emqx, data_dir),
    Name = io_lib:format("emqx-export-~s.json", [stamp()]),
    File = filename:join([Directory, "backup", Name]),
    ok = filelib:ensure_dir(File),
    case file:write_file(File, io_lib:format("{\"version\":\"~s\"}", [emqx_sys:version()])) of
        ok -> say("The emqx data has been successfully exported to ~s.~n", [File]);
        {error, Reason} -> say("The emqx data export failed due to ~p.~n", [Reason])
    end;
run(["rebalance" | Words]) ->
    rebalance(Words);
run(_) ->
    usage().

usage() ->
    {"Usage: emqx_ctl status | broker [stats] | cluster status|join|leave|force-leave | plugins list\n"
     "       | resources list | listeners | data export\n", 1}.

-ifdef(ENTERPRISE).
rebalance(["start", "--evacuation" | Options]) ->
    Option = fun(Name, Default) ->
        [Name, Value | _] = lists:dropwhile(fun(Word) -> Word =/= Name end, Options ++ [Name, Default]),
        list_to_integer(Value)
    end,
    case emqx_rebalance:evacuate(Option("--conn-evict-rate", "500"), Option("--wait-takeover", "60")) of
        ok -> say("Rebalance(evacuation) started~n", []);
        {error, Reason} -> say("Rebalance(evacuation) failed to start: ~p~n", [Reason])
    end;
rebalance(["stop"]) ->
    ok = emqx_rebalance:stop(),
    say("Rebalance(evacuation) stopped~n", []);
rebalance(["node-status"]) ->
    {emqx_rebalance:status(), 0};
rebalance(_) ->
    usage().
-else.
rebalance(_) ->
    usage().
-endif.

say(Format, Arguments) ->
    {io_lib:format(Format, Arguments), 0}.

cluster_status() ->
    say("Cluster status: ~p~n", [emqx_cluster:status()]).

address({ok, {Ip, Port}}) ->
    io_lib:format("~s:~w", [inet:ntoa(Ip), Port]);
address(undefined) ->
    "none".

stamp() ->
    {{Year, Month, Day}, {Hour, Minute, Second}} = calendar:local_time(),
    io_lib:format("~w-~w-~w-~w-~w-~w", [Year, Month, Day, Hour, Minute, Second]).
