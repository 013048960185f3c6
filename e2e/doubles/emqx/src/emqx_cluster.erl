%% The cluster: a Mnesia database in the node's own directory, and one replicated table.
-module(emqx_cluster).

-export([start/0, join/1, leave/0, force_leave/1, prepare/1, status/0, retain/2, retained/1]).

-define(TABLE, emqx_retained).
-record(emqx_retained, {topic, payload}).

start() ->
    {ok, _} = pg_start(),
    _ = case mnesia:system_info(use_dir) of
        true -> ok;
        false -> mnesia:create_schema([node()])
    end,
    ok = mnesia:start(),
    wait_for_peers(),
    case lists:member(?TABLE, mnesia:system_info(tables)) of
        true -> ok;
        false ->
            {atomic, ok} = mnesia:create_table(?TABLE, [
                {disc_copies, [node()]}, {attributes, record_info(fields, ?TABLE)}]),
            ok
    end,
    case mnesia:wait_for_tables([?TABLE], 120000) of
        ok -> ok;
        {timeout, Tables} -> exit({still_waiting_for, Tables})
    end.

pg_start() ->
    case pg:start(pg) of
        {ok, Pid} -> {ok, Pid};
        {error, {already_started, Pid}} -> {ok, Pid}
    end.

%% Connects to the other members, as far as they run.
wait_for_peers() ->
    [net_kernel:connect_node(Node) || Node <- mnesia:system_info(db_nodes), Node =/= node()],
    ok.

%% Takes the node's data away and joins another node's cluster.
join(Node) when Node =:= node() ->
    {error, cannot_join_with_self};
join(Node) ->
    case net_kernel:connect_node(Node) of
        true ->
            prepare(join),
            ok = application:stop(emqx),
            stopped = mnesia:stop(),
            ok = mnesia:delete_schema([node()]),
            ok = mnesia:start(),
            {ok, _} = mnesia:change_config(extra_db_nodes, [Node]),
            {atomic, ok} = mnesia:change_table_copy_type(schema, node(), disc_copies),
            {atomic, ok} = mnesia:add_table_copy(?TABLE, node(), disc_copies),
            application:start(emqx);
        _ ->
            {error, {node_down, Node}}
    end.

%% What a node says before it leaves what it was in. A stop says nothing of the kind.
prepare(Reason) ->
    %% Into the log of this node, not to the terminal of who asked for it.
    logger:critical("emqx shutdown for ~s", [Reason], #{gl => whereis(init)}).

leave() ->
    case [Node || Node <- mnesia:system_info(running_db_nodes), Node =/= node()] of
        [] -> {error, node_not_in_cluster};
        [Other | _] ->
            ok = application:stop(emqx),
            stopped = mnesia:stop(),
            {atomic, ok} = rpc:call(Other, mnesia, del_table_copy, [schema, node()]),
            ok = mnesia:delete_schema([node()]),
            application:start(emqx)
    end.

force_leave(Node) ->
    case lists:member(Node, mnesia:system_info(running_db_nodes)) of
        true -> rpc:call(Node, ?MODULE, leave, []);
        false ->
            {atomic, ok} = mnesia:del_table_copy(schema, Node),
            ok
    end.

status() ->
    Running = lists:sort(mnesia:system_info(running_db_nodes)),
    #{running_nodes => Running, stopped_nodes => lists:sort(mnesia:system_info(db_nodes) -- Running)}.

retain(Topic, Payload) ->
    mnesia:sync_dirty(fun() -> mnesia:write(#emqx_retained{topic = Topic, payload = Payload}) end).

retained(Topic) ->
    [Payload || #emqx_retained{payload = Payload} <- mnesia:dirty_read(?TABLE, Topic)].
