%% Forces members that have been down for longer than `cluster.autoclean` out of the cluster.
-module(emqx_autoclean).
-behaviour(gen_server).

-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

init([]) ->
    {ok, Text} = application:get_env(emqx, autoclean),
    case limit(Text) of
        never -> {ok, never};
        Limit ->
            erlang:send_after(500, self(), look),
            {ok, {Limit, #{}}}
    end.

limit(Text) ->
    case re:run(Text, "^([0-9]+)(s|m|h)$", [{capture, [1, 2], list}]) of
        {match, [Number, "s"]} -> list_to_integer(Number) * 1000;
        {match, [Number, "m"]} -> list_to_integer(Number) * 60000;
        {match, [Number, "h"]} -> list_to_integer(Number) * 3600000;
        nomatch -> never
    end.

handle_call(_Request, _From, State) ->
    {reply, ok, State}.

handle_cast(_Message, State) ->
    {noreply, State}.

handle_info(look, {Limit, Before}) ->
    erlang:send_after(500, self(), look),
    Now = erlang:monotonic_time(millisecond),
    #{running_nodes := [First | _], stopped_nodes := Stopped} = emqx_cluster:status(),
    Down = maps:from_list([{Node, maps:get(Node, Before, Now)} || Node <- Stopped]),
    %% One of the members does it.
    [emqx_cluster:force_leave(Node) || {Node, Since} <- maps:to_list(Down), First =:= node(), Now - Since > Limit],
    {noreply, {Limit, Down}};
handle_info(_Message, State) ->
    {noreply, State}.
